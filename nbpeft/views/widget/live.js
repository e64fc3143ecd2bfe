// One run while it goes on: how far, its curves with their values under the pointer or the arrow
// keys, its figures, its answers so far, and Stop.
//
// All of it is drawn from one value, the model's `run` (nbpeft/views/widget/state.py), whenever that
// changes, so a page that was loaded again shows the same. Names, prompts and answers are other
// people's words: they are set as text, never as markup.

const SVG = 'http://www.w3.org/2000/svg';
const SPOKEN_EVERY = 10000; // milliseconds between two lines that a screen reader says by itself

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function drawing(tag, attributes = {}) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) {
    made.setAttribute(name, value);
  }
  return made;
}

/** A value in the words of its curve: 1.234, 93.8 %, 512 MB. null is no number. */
function told(value, kind) {
  if (value === null || value === undefined) return 'no number';
  if (kind === 'share') return `${(100 * value).toFixed(1)}%`;
  if (kind === 'bytes') return bytes(value);
  if (kind === 'rate') return Math.round(value).toLocaleString('en-US');
  if (value !== 0 && Math.abs(value) < 0.01) return String(Number(value.toPrecision(3)));
  return Math.abs(value) < 1000 ? value.toFixed(3) : Math.round(value).toLocaleString('en-US');
}

function bytes(value) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let place = 0;
  while (value >= 999.5 && place < units.length - 1) {
    value /= 1000;
    place += 1;
  }
  return `${place && value < 99.95 ? value.toFixed(1) : Math.round(value)} ${units[place]}`;
}

/** The place of the point whose step is nearest. */
function nearest(points, step) {
  let best = 0;
  points.forEach((point, place) => {
    if (Math.abs(point[0] - step) < Math.abs(points[best][0] - step)) best = place;
  });
  return best;
}

/** Stretches of points that are numbers: a loss that is none leaves a gap. */
function stretches(points) {
  const found = [[]];
  for (const point of points) {
    if (point[1] !== null) found.at(-1).push(point);
    else if (found.at(-1).length) found.push([]);
  }
  return found.filter(stretch => stretch.length);
}

/**
 * Curves over steps, with a line under the pointer and its values in words.
 *
 * It takes the keyboard as a slider does (WAI-ARIA): the arrows move it along the first curve's
 * points, Home and End to its ends, Escape lets go; a screen reader says the values.
 */
class Chart {
  constructor(width, height, name) {
    this.width = width;
    this.height = height;
    this.name = name;
    this.curves = [];
    this.steps = 1;
    this.at = null; // the step that is asked for
    this.lines = drawing('g');
    this.cursor = drawing('line', { class: 'nbpeft-cursor', y1: 0, y2: height });
    this.svg = drawing('svg', {
      viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', 'aria-hidden': 'true'
    });
    this.svg.append(drawing('path', {
      class: 'nbpeft-axes', d: `M0.5,0 V${height - 0.5} H${width}`
    }), this.lines, this.cursor);
    this.top = element('span', { className: 'nbpeft-top' });
    this.bottom = element('span', { className: 'nbpeft-bottom' });
    this.says = element('div', { className: 'nbpeft-says' });
    const plot = element('div', { className: 'nbpeft-plot' }, this.svg, this.top, this.bottom);
    this.node = element('div', { className: 'nbpeft-chart', tabIndex: 0 }, plot, this.says);
    this.node.setAttribute('role', 'slider');
    this.node.setAttribute('aria-label', name);
    this.node.addEventListener('pointermove', event => {
      const box = this.svg.getBoundingClientRect();
      this.ask(((event.clientX - box.left) / (box.width || 1)) * this.steps);
    });
    this.node.addEventListener('pointerleave', () => this.ask(null));
    this.node.addEventListener('blur', () => this.ask(null));
    this.node.addEventListener('keydown', event => this.key(event));
  }

  set(curves, steps) {
    this.curves = curves.filter(curve => curve.points.length);
    this.steps = Math.max(1, steps);
    const values = this.curves.flatMap(c => c.points.map(p => p[1])).filter(v => v !== null);
    this.low = Math.min(...values);
    this.high = Math.max(...values);
    this.top.textContent = told(this.high, this.curves[0]?.kind);
    this.bottom.textContent = told(this.low, this.curves[0]?.kind);
    this.lines.replaceChildren(...this.curves.flatMap(curve => this.drawn(curve)));
    this.tell();
  }

  place([step, value]) {
    const span = this.high - this.low || 1;
    const x = (step / this.steps) * this.width;
    const y = 4 + ((this.high - value) / span) * (this.height - 8);
    return [x.toFixed(1), y.toFixed(1)];
  }

  drawn(curve) {
    const color = { class: `nbpeft-${curve.color}` };
    const runs = stretches(curve.points);
    const drawn = runs.map(run => drawing('polyline', {
      ...color, points: run.map(point => this.place(point).join(',')).join(' ')
    }));
    if (curve.dots) {
      for (const point of runs.flat()) {
        const [x, y] = this.place(point);
        // A line of no length with round ends is a dot that stretching leaves round.
        drawn.push(drawing('path', { ...color, 'data-dot': '', d: `M${x},${y}h0` }));
      }
    }
    return drawn;
  }

  ask(step) {
    this.at = step;
    this.tell();
  }

  key(event) {
    const points = this.curves[0]?.points;
    if (!points) return;
    const last = points.length - 1;
    const here = this.at === null ? last : nearest(points, this.at);
    const to = {
      ArrowLeft: here - 1, ArrowDown: here - 1, ArrowRight: here + 1, ArrowUp: here + 1,
      PageDown: here - 10, PageUp: here + 10, Home: 0, End: last
    }[event.key];
    if (event.key === 'Escape') this.ask(null);
    else if (to === undefined) return;
    else this.ask(points[Math.min(last, Math.max(0, to))][0]);
    event.preventDefault(); // the notebook would scroll, or leave the cell
    event.stopPropagation();
  }

  /** What is said of the step that is asked for, or of the latest. */
  tell() {
    const first = this.curves[0]?.points;
    this.cursor.classList.toggle('nbpeft-shown', this.at !== null && !!first);
    if (!first) return;
    const step = this.at === null ? first.at(-1)[0] : first[nearest(first, this.at)][0];
    const values = this.curves.map(curve => {
      const point = curve.points[nearest(curve.points, step)];
      return [curve, told(point[1], curve.kind)];
    });
    const x = ((step / this.steps) * this.width).toFixed(1);
    this.cursor.setAttribute('x1', x);
    this.cursor.setAttribute('x2', x);
    const words = values.map(([curve, value]) => `${curve.name} ${value}`).join(', ');
    const node = this.node;
    node.setAttribute('aria-valuemin', first[0][0]);
    node.setAttribute('aria-valuemax', first.at(-1)[0]);
    node.setAttribute('aria-valuenow', step);
    node.setAttribute('aria-valuetext', `step ${step}: ${words}`);
    this.says.replaceChildren(`step ${step.toLocaleString('en-US')}`, ...values.map(
      ([curve, value]) => element('span', { className: `nbpeft-${curve.color}` },
        `${curve.name} ${value}`)
    ));
  }
}

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
    root.classList.add('nbpeft-live');
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
