// One run while it goes on: how far, its curves with their values under the pointer or the arrow
// keys, its figures, its answers so far, and Stop.
//
// All of it is drawn from one value, the model's `run` (nbpeft/views/widget/history.py), whenever that
// changes, so a page that was loaded again shows the same. Names, prompts and answers are other
// people's words: they are set as text, never as markup.

const SPOKEN_EVERY = 10000; // milliseconds between two lines that a screen reader says by itself

/** A chart that is there while it has something to show. */
function shown(chart, curves, steps) {
  chart.set(curves, steps);
  chart.node.hidden = !chart.curves.length;
}

class Live {
  constructor(model, root) {
    this.model = model;
    this.title = element('strong');
    this.stop = element('button', { type: 'button', className: 'nbpeft-stop' }, 'Stop');
    this.stop.addEventListener('click', () => this.ask(root));
    this.hint = element('span', { className: 'nbpeft-hint' });
    this.hint.setAttribute('role', 'status');
    this.bar = element('progress');
    this.loss = new Chart(640, 160, 'loss over steps');
    this.figures = element('div', { className: 'nbpeft-figures' });
    this.small = new Map(); // a chart for each figure that has a curve
    this.samples = element('details', { className: 'nbpeft-samples', open: true });
    this.spoken = element('div', { className: 'nbpeft-spoken' });
    this.spoken.setAttribute('aria-live', 'polite');
    this.lastSpoken = 0;
    root.classList.add('nbpeft-view', 'nbpeft-live');
    root.setAttribute('role', 'group');
    root.append(
      element('div', { className: 'nbpeft-head' }, this.title, this.stop, this.hint),
      this.bar, this.loss.node, this.figures, this.samples, this.spoken
    );
    this.root = root;
    this.draw();
  }

  /**
   * Ask the run to stop after its step.
   *
   * nbpeft's JupyterLab extension listens on the page: it reaches a kernel that is busy. Where
   * nobody does, a message waits in the kernel's queue, and the cell's own stop button is left.
   */
  ask(root) {
    const { id } = this.model.get('run');
    const asked = new CustomEvent('nbpeft:stop', {
      bubbles: true, composed: true, cancelable: true, detail: { run: id }
    });
    root.dispatchEvent(asked);
    this.hint.textContent = 'stopping after this step …';
    if (!asked.defaultPrevented) {
      this.model.send({ stop: id });
      this.hint.textContent = 'if nothing happens: interrupt the kernel (■)';
    }
  }

  draw() {
    const run = this.model.get('run');
    this.root.setAttribute('aria-label', `training of ${run.name}`);
    this.title.textContent = run.title;
    this.bar.max = Math.max(1, run.steps);
    this.bar.value = Math.min(run.step, this.bar.max);
    this.bar.setAttribute('aria-label', run.title);
    this.stop.hidden = run.ended;
    if (run.ended) this.hint.textContent = '';
    const length = run.steps || run.step;
    shown(this.loss, run.losses, length);
    this.drawFigures(run, length);
    this.drawSamples(run.samples);
    this.speak(run);
  }

  drawFigures(run, length) {
    const curves = new Map(run.curves.map(curve => [curve.name, curve]));
    const cells = run.figures.map(([name, value]) => {
      const cell = element('div', { className: 'nbpeft-figure' },
        element('span', { className: 'nbpeft-name' }, name), element('span', {}, value));
      const curve = curves.get(name);
      if (curve && curve.points.length > 1) {
        if (!this.small.has(name)) this.small.set(name, new Chart(150, 32, `${name} over steps`));
        const chart = this.small.get(name);
        chart.set([curve], length);
        cell.append(chart.node);
      }
      return cell;
    });
    const focused = this.root.getRootNode().activeElement;
    this.figures.replaceChildren(...cells);
    if (focused && this.figures.contains(focused)) focused.focus({ preventScroll: true });
  }

  drawSamples(samples) {
    this.samples.hidden = !samples.length;
    if (samples.length === this.told && samples.at(-1)?.step === this.toldStep) return;
    this.told = samples.length;
    this.toldStep = samples.at(-1)?.step;
    const answers = samples.map(sample => element('tr', {},
      element('th', { scope: 'row' },
        sample.step ? `at step ${sample.step.toLocaleString('en-US')}` : 'before training'),
      element('td', {}, sample.text)));
    this.samples.replaceChildren(
      element('summary', {}, 'a prompt of the data and its answers: ',
        element('q', {}, samples.at(-1)?.prompt ?? '')),
      element('table', {}, element('tbody', {}, ...answers)));
  }

  speak(run) {
    const now = Date.now();
    if (run.ended || now - this.lastSpoken > SPOKEN_EVERY) {
      this.lastSpoken = now;
      this.spoken.textContent = run.line;
    }
  }
}

export default {
  render({ model, el }) {
    const live = new Live(model, el.appendChild(document.createElement('div')));
    const draw = () => live.draw();
    model.on('change:run', draw);
    return () => model.off('change:run', draw);
  }
};
