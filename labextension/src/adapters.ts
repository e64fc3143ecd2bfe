import { button, element, focusOn, refill } from './elements';
import type { Adapter } from './news';

/** What may be typed into a cell as it stands: what a user's own PEFT calls an adapter may not. */
const TYPED = /^[A-Za-z0-9_][\w.+@-]*$/;
/** What an adapter may be called (nbpeft/session/names.py). */
const NAME = /^[A-Za-z0-9_][\w.-]*$/;
const LONGEST = 64;
const HEADING = 'the list of adapters';

/** How the kernel and the notebook are asked to do something. */
export interface Acts {
  /** Have the kernel do what a user would type; whether it could. What it says is shown. */
  type(code: string, done?: string): Promise<boolean>;
  insertAndRun(source: string): void;
  say(text: string): void;
}

/** The adapters of a notebook, a row each, with what can be done with it. */
export class Adapters {
  readonly node = element('div');
  private adapters: Adapter[] = [];
  /** The row in which a name is typed, or a deletion waits for a second click. */
  private asking: { name: string; row: HTMLElement } | null = null;
  private shown = '';

  constructor(private readonly acts: Acts) {}

  /** Show these; what is typed meanwhile is left alone. */
  show(adapters: Adapter[]): void {
    this.adapters = adapters;
    if (!adapters.some(({ name }) => name === this.asking?.name)) {
      this.asking = null;
    }
    const now = JSON.stringify(adapters);
    if (now !== this.shown) {
      this.shown = now;
      this.draw();
    }
  }

  private draw(): void {
    const heading = element('h3', { tabIndex: -1 }, 'Adapters');
    heading.dataset.does = HEADING;
    const none = element('p', {}, 'None yet: %%finetune NAME --data X makes one.');
    refill(this.node, () => {
      const rows = this.adapters.map(adapter => this.row(adapter));
      return [heading, ...(rows.length ? rows : [none])];
    });
  }

  private row(adapter: Adapter): HTMLElement {
    const { name, about, attached } = adapter;
    const asked = this.asking?.name === name ? this.asking.row : null;
    return element(
      'div',
      { className: attached ? 'nbpeft-adapter nbpeft-attached' : 'nbpeft-adapter' },
      element('strong', {}, name),
      element('div', { className: 'nbpeft-about' }, about),
      asked ?? (TYPED.test(name) ? element('div', {}, ...this.buttons(adapter)) : '')
    );
  }

  private buttons({ name, attached, versions, own }: Adapter): HTMLElement[] {
    const { acts } = this;
    const toggle = attached
      ? button('Detach', `Detach ${name}: the base again`, () =>
          acts.type('%peft_attach --none', `${name} is detached`)
        )
      : button('Attach', `Attach ${name}`, () =>
          acts.type(`%peft_attach ${name}`, `${name} is attached`)
        );
    const compare = button('Compare', `Compare ${name} with the base`, () =>
      acts.insertAndRun(`%peft_compare base ${name}`)
    );
    if (!own) {
      return [toggle, compare];
    }
    return [
      toggle,
      compare,
      button('Rename', `Rename ${name}`, () => this.askName(name)),
      button('Export', `Export ${name} as a zip`, () => acts.type(`%peft_export ${name}`)),
      button('Delete', `Delete ${name}`, () => this.askWhether(name, versions))
    ];
  }

  private askName(name: string): void {
    const field = element('input', { value: name, maxLength: LONGEST, spellcheck: false });
    field.setAttribute('aria-label', `New name of ${name}`);
    const form = element(
      'form',
      {},
      field,
      element('button', { type: 'submit' }, 'Rename'),
      this.cancel(`Leave the name ${name}`, `Rename ${name}`)
    );
    form.onsubmit = event => {
      event.preventDefault();
      void this.rename(name, field);
    };
    this.ask(name, form, `Rename ${name}`);
    field.focus();
    field.select();
  }

  private async rename(name: string, field: HTMLInputElement): Promise<void> {
    const to = field.value.trim();
    if (to === name) {
      this.close(`Rename ${name}`);
    } else if (!NAME.test(to)) {
      field.setAttribute('aria-invalid', 'true');
      this.acts.say('A name is letters, digits, _, - and ., with no - or . first.');
    } else if (!field.readOnly) {
      field.readOnly = true; // once: it may wait for a cell that runs
      const code = `%peft_adapters ${name} --rename ${to}`;
      if (await this.acts.type(code, `${name} is ${to} now`)) {
        this.close(`Rename ${to}`);
      }
      field.readOnly = false;
    }
  }

  private askWhether(name: string, versions: number): void {
    const question = `Delete ${name}${versions > 1 ? `, all ${versions} versions` : ''}?`;
    let asked = false; // once: it may wait for a cell that runs
    const sure = button(question, `${question} It can't be had back`, () => {
      void (asked || this.delete(name));
      asked = true;
    });
    sure.classList.add('nbpeft-sure');
    const cancel = this.cancel(`Keep ${name}`, `Delete ${name}`);
    const group = element('div', {}, sure, cancel);
    group.setAttribute('role', 'group');
    group.setAttribute('aria-label', question);
    this.ask(name, group, `Delete ${name}`);
    cancel.focus();
  }

  private async delete(name: string): Promise<void> {
    const done = await this.acts.type(`%peft_adapters ${name} --delete`, `${name} is deleted`);
    this.close(done ? HEADING : `Delete ${name}`);
  }

  private cancel(does: string, back: string): HTMLButtonElement {
    return button('Cancel', does, () => this.close(back));
  }

  /** Show this in the adapter's row instead of its buttons, until it is done or Escape is pressed. */
  private ask(name: string, row: HTMLElement, back: string): void {
    row.onkeydown = event => {
      if (event.key === 'Escape') {
        event.stopPropagation();
        this.close(back);
      }
    };
    this.asking = { name, row };
    this.acts.say('');
    this.draw();
  }

  private close(focused: string): void {
    const at = document.activeElement;
    const here = at === document.body || this.node.contains(at);
    this.asking = null;
    this.draw();
    if (here) {
      focusOn(this.node, focused); // else somebody has gone on elsewhere meanwhile
    }
  }
}
