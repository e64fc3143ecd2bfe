// Curves over steps, drawn as SVG, that say their values.

const SVG = 'http://www.w3.org/2000/svg';

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
