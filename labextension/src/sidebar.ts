import type { JupyterFrontEnd } from '@jupyterlab/application';
import { INotebookTracker, NotebookActions } from '@jupyterlab/notebook';
import type { Kernel } from '@jupyterlab/services';
import { LabIcon } from '@jupyterlab/ui-components';
import { Widget } from '@lumino/widgets';

import { insert } from './cells';
import { Adapter, latest, Run } from './news';
import { stop } from './stop';

const icon = new LabIcon({
  name: 'nbpeft:adapters',
  svgstr:
    '<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 16 16">' +
    '<path class="jp-icon3" fill="#616161" d="M2 2h5v5H2zM9 9h5v5H9zM8 4h4v4h-1.5V5.5H8z"/></svg>'
});
const TYPED = /^[\w.+@-]+$/;
const SVG = 'http://www.w3.org/2000/svg';

/** The adapters and the runs of the notebook that is looked at. */
export function showSidebar(app: JupyterFrontEnd, notebooks: INotebookTracker): void {
  const sidebar = new Sidebar(notebooks);
  app.shell.add(sidebar, 'left', { rank: 700 });
}

function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children); // texts stay text: names are other people's words
  return made;
}

class Sidebar extends Widget {
  private readonly list = element('div');
  private readonly said = element('div', { className: 'nbpeft-said' });

  constructor(private readonly notebooks: INotebookTracker) {
    super();
    this.id = 'nbpeft-sidebar';
    this.addClass('nbpeft-sidebar');
    this.title.icon = icon;
    this.title.caption = 'nbpeft: adapters and runs';
    this.node.setAttribute('aria-label', 'nbpeft: adapters and runs');
    this.said.setAttribute('role', 'status');
    this.node.append(this.list, this.said);
    latest.changed.connect(() => this.draw());
    notebooks.currentChanged.connect(() => {
      this.said.textContent = '';
      this.draw();
    });
    this.draw();
  }

  private get kernel(): Kernel.IKernelConnection | null | undefined {
    return this.notebooks.currentWidget?.sessionContext.session?.kernel;
  }

  private draw(): void {
    const news = latest.of(this.kernel);
    if (!news) {
      this.list.replaceChildren(
        element('p', {}, 'No notebook here has loaded nbpeft: run %load_ext nbpeft in one.')
      );
      return;
    }
    const focused = (document.activeElement as HTMLElement | null)?.dataset?.does;
    const runs = [...news.runs.values()];
    this.list.replaceChildren(
      ...(runs.length ? [element('h3', {}, 'Running'), ...runs.map(run => this.run(run))] : []),
      element('h3', {}, 'Adapters'),
      ...(news.problem ? [element('p', {}, news.problem)] : []),
      ...(news.adapters.length
        ? news.adapters.map(adapter => this.adapter(adapter))
        : [element('p', {}, 'None yet: %%finetune NAME --data X makes one.')])
    );
    if (focused) {
      this.list.querySelector<HTMLElement>(`[data-does="${CSS.escape(focused)}"]`)?.focus();
    }
  }

  private button(label: string, does: string, act: () => void): HTMLButtonElement {
    const made = element('button', { type: 'button', title: does, onclick: act }, label);
    made.dataset.does = does;
    made.setAttribute('aria-label', does);
    return made;
  }

  private run(run: Run): HTMLElement {
    const bar = element('progress', { max: Math.max(1, run.steps), value: run.step });
    bar.setAttribute('aria-label', run.title);
    return element(
      'div',
      { className: 'nbpeft-run' },
      element('div', {}, run.title),
      bar,
      sparkline(run),
      element(
        'div',
        {},
        this.button('Stop', 'Stop after this step', () => {
          const kernel = this.kernel;
          if (kernel) {
            this.said.textContent = 'stopping after this step …';
            void stop(kernel, run.id);
          }
        }),
        run.left ? ` ${run.left} left` : ''
      )
    );
  }

  private adapter({ name, about, attached }: Adapter): HTMLElement {
    const toggle = attached
      ? this.button('Detach', `Detach ${name}: the base again`, () =>
          this.type('%peft_attach --none', `${name} is detached`)
        )
      : this.button('Attach', `Attach ${name}`, () =>
          this.type(`%peft_attach ${name}`, `${name} is attached`)
        );
    const compare = this.button('Compare', `Compare ${name} with the base`, () =>
      this.insertAndRun(`%peft_compare base ${name}`)
    );
    return element(
      'div',
      { className: attached ? 'nbpeft-adapter nbpeft-attached' : 'nbpeft-adapter' },
      element('strong', {}, name),
      element('div', { className: 'nbpeft-about' }, about),
      // What a user's own PEFT calls an adapter may be no word that can be typed.
      TYPED.test(name) ? element('div', {}, toggle, compare) : ''
    );
  }

  /** Have the kernel do what a user would type; it tells how things stand then. */
  private async type(code: string, done: string): Promise<void> {
    const kernel = this.kernel;
    if (!kernel) {
      return;
    }
    this.said.textContent = kernel.status === 'busy' ? 'once the kernel is free …' : '';
    const future = kernel.requestExecute({ code, store_history: false, stop_on_error: false });
    const { content } = await future.done;
    this.said.textContent =
      content.status === 'error' ? `${content.ename}: ${content.evalue}` : done;
  }

  private insertAndRun(source: string): void {
    const panel = this.notebooks.currentWidget;
    if (panel) {
      insert(panel, source);
      void NotebookActions.run(panel.content, panel.sessionContext);
    }
  }
}

/** The shape of a run's loss. */
function sparkline({ losses, steps, step }: Run): Node {
  if (losses.length < 2) {
    return document.createTextNode('');
  }
  const values = losses.map(([, loss]) => loss);
  const low = Math.min(...values);
  const span = Math.max(...values) - low || 1;
  const line = document.createElementNS(SVG, 'polyline');
  const length = steps || step;
  line.setAttribute(
    'points',
    losses.map(([at, loss]) => `${(at / length) * 200},${2 + (1 - (loss - low) / span) * 36}`).join(' ')
  );
  const made = document.createElementNS(SVG, 'svg');
  made.setAttribute('viewBox', '0 0 200 40');
  made.setAttribute('preserveAspectRatio', 'none');
  made.setAttribute('role', 'img');
  made.setAttribute('aria-label', `loss ${values[values.length - 1].toPrecision(3)}`);
  made.append(line);
  return made;
}
