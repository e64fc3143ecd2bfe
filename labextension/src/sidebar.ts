import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { INotebookTracker } from '@jupyterlab/notebook';
import type { Contents, Kernel } from '@jupyterlab/services';
import { LabIcon } from '@jupyterlab/ui-components';
import { Widget } from '@lumino/widgets';

import { Adapters } from './adapters';
import { insertAndRun } from './cells';
import { button, element, refill } from './elements';
import { latest, News, Run } from './news';
import { stop } from './stop';

const icon = new LabIcon({
  name: 'nbpeft:adapters',
  svgstr:
    '<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 16 16">' +
    '<path class="jp-icon3" fill="#616161" d="M2 2h5v5H2zM9 9h5v5H9zM8 4h4v4h-1.5V5.5H8z"/></svg>'
});
const SVG = 'http://www.w3.org/2000/svg';

/** The adapters and the runs of the notebook that is looked at. */
export function showSidebar(app: JupyterFrontEnd, notebooks: INotebookTracker): void {
  const sidebar = new Sidebar(notebooks, app.serviceManager.contents);
  app.shell.add(sidebar, 'left', { rank: 700 });
}

class Sidebar extends Widget {
  private readonly runs = element('div');
  private readonly problem = element('p');
  private readonly adapters = new Adapters(this);
  private readonly said = element('div', { className: 'nbpeft-said' });
  private readonly link = element('div');
  private file: News['file'];

  constructor(
    private readonly notebooks: INotebookTracker,
    private readonly contents: Contents.IManager
  ) {
    super();
    this.id = 'nbpeft-sidebar';
    this.addClass('nbpeft-sidebar');
    this.title.icon = icon;
    this.title.caption = 'nbpeft: adapters and runs';
    this.node.setAttribute('aria-label', 'nbpeft: adapters and runs');
    this.said.setAttribute('role', 'status');
    this.node.append(this.runs, this.problem, this.adapters.node, this.said, this.link);
    latest.changed.connect(() => this.draw());
    notebooks.currentChanged.connect(() => {
      this.say('');
      this.draw();
    });
    this.draw();
  }

  private get kernel(): Kernel.IKernelConnection | null | undefined {
    return this.notebooks.currentWidget?.sessionContext.session?.kernel;
  }

  private draw(): void {
    const news = latest.of(this.kernel);
    this.adapters.node.hidden = !news;
    this.problem.hidden = !!news && !news.problem;
    this.problem.textContent = news
      ? news.problem
      : 'No notebook here has loaded nbpeft: run %load_ext nbpeft in one.';
    refill(this.runs, () => {
      const runs = [...(news?.runs.values() ?? [])].map(run => this.run(run));
      return runs.length ? [element('h3', {}, 'Running'), ...runs] : [];
    });
    this.adapters.show(news?.adapters ?? []);
    if (this.file !== news?.file) {
      this.file = news?.file;
      void this.offer(this.file);
    }
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
        button('Stop', 'Stop after this step', () => {
          const kernel = this.kernel;
          if (kernel) {
            this.say('stopping after this step …');
            void stop(kernel, run.id);
          }
        }),
        run.left ? ` ${run.left} left` : ''
      )
    );
  }

  /** A link to what was exported, where the page's server has that very file. */
  private async offer(file: News['file']): Promise<void> {
    this.link.replaceChildren();
    const notebook = this.notebooks.currentWidget?.context.path;
    if (!file || notebook === undefined) {
      return;
    }
    const path = notebook.slice(0, notebook.lastIndexOf('/') + 1) + file.path;
    const found = await this.contents.get(path, { content: false }).catch(() => null);
    if (found?.size === file.size && this.file === file) {
      const href = await this.contents.getDownloadUrl(path);
      this.link.replaceChildren(element('a', { href, download: found.name }, `Download ${found.name}`));
    }
  }

  say(text: string): void {
    this.said.textContent = text;
  }

  /** Have the kernel do what a user would type; it tells how things stand then. */
  async type(code: string, done?: string): Promise<boolean> {
    const kernel = this.kernel;
    if (!kernel) {
      return false;
    }
    this.say(kernel.status === 'busy' ? 'once the kernel is free …' : '');
    const future = kernel.requestExecute({ code, store_history: false, stop_on_error: false });
    let printed = '';
    future.onIOPub = ({ content }) => {
      printed += 'text' in content && content.name === 'stdout' ? content.text : '';
    };
    const { content } = await future.done;
    const failed = content.status !== 'ok';
    const error = content.status === 'error' ? `${content.ename}: ${content.evalue}` : '';
    this.say(failed ? error : (done ?? printed.replace('[nbpeft] ', '')));
    return !failed;
  }

  insertAndRun(source: string): void {
    const panel = this.notebooks.currentWidget;
    if (panel) {
      insertAndRun(panel, source);
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
