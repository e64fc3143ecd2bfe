// A comparison: a row a prompt, a column an adapter. Heads sort, answers show what differs from the
// base, and what is asked for (a prompt, an adapter, a vote) goes to the kernel as one message each.
//
// All of it is drawn from the model's `table` and `status` (nbpeft/comparison/view). Names, prompts
// and answers are other people's words: they are set as text, never as markup.

/** How two cells sort: as numbers where both begin with one, else as words. */
function inOrder(a, b) {
  const [x, y] = [a, b].map(text => Number.parseFloat(text.replaceAll(',', '')));
  if (Number.isFinite(x) && Number.isFinite(y) && x !== y) return x - y;
  return a.localeCompare(b);
}

// How each comparison is looked at: it is drawn anew when it has grown.
//   rowsBy     {column: -1 the prompt, else a place; down}
//   columnsBy  {figure: a place; down}
//   marked     'row column' of the answers whose differences are shown
const looks = new Map();

function lookOf(id) {
  if (!looks.has(id)) looks.set(id, { rowsBy: null, columnsBy: null, marked: new Set() });
  return looks.get(id);
}

class Comparison {
  constructor(model, root) {
    this.model = model;
    this.look = lookOf(model.get('table').id);
    this.all = element('button', { type: 'button' }, 'Differences');
    this.all.title = 'mark in every answer what differs from the base, or in none';
    this.all.addEventListener('click', () => this.markAll());
    this.table = element('table');
    this.notes = element('div', { className: 'nbpeft-notes' });
    this.prompt = element('input', { type: 'text', placeholder: 'another prompt' });
    this.prompt.setAttribute('aria-label', 'another prompt');
    this.add = element('button', { type: 'submit' }, 'Ask');
    this.others = element('select');
    this.others.setAttribute('aria-label', 'another adapter');
    this.more = element('form', { className: 'nbpeft-more' },
      this.all, this.prompt, this.add, this.others);
    this.status = element('div', { className: 'nbpeft-status' });
    this.status.setAttribute('role', 'status');
    this.more.addEventListener('submit', event => {
      event.preventDefault();
      if (this.prompt.value.trim()) model.send({ prompt: this.prompt.value });
    });
    this.others.addEventListener('change', () => {
      if (this.others.value) model.send({ adapter: this.others.value });
    });
    // Keys typed here are not the notebook's: 'a' would insert a cell.
    root.addEventListener('keydown', event => event.stopPropagation());
    root.classList.add('nbpeft-view', 'nbpeft-comparison');
    root.append(this.table, this.notes, this.more, this.status);
    this.draw();
    this.tell();
  }

  draw() {
    const data = this.model.get('table');
    const rows = data.rows.map((row, place) => ({ ...row, place }));
    if (this.look.rowsBy) {
      const { column, down } = this.look.rowsBy;
      const text = row => (column < 0 ? row.prompt : row.answers[column].text);
      rows.sort((a, b) => (down ? -1 : 1) * inOrder(text(a), text(b)));
    }
    const columns = data.columns.map((_, place) => place);
    if (this.look.columnsBy) {
      const { figure, down } = this.look.columnsBy;
      const text = place => data.figures[figure][place + 1] ?? '';
      columns.sort((a, b) => (down ? -1 : 1) * inOrder(text(a), text(b)));
    }
    this.table.replaceChildren(
      this.head(data, columns),
      element('tbody', {}, ...rows.map(row => this.row(data, row, columns))),
      this.foot(data, columns)
    );
    this.notes.replaceChildren(...data.notes.map(note => element('div', {}, note)));
    this.prompt.hidden = this.add.hidden = !data.more;
    this.others.replaceChildren(
      element('option', { value: '' }, 'add an adapter …'),
      ...data.others.map(name => element('option', { value: name }, name))
    );
    this.others.hidden = !data.others.length;
  }

  sorter(text, now, key, onClick) {
    const mark = now ? (now.down ? ' ▾' : ' ▴') : '';
    const button = element('button', { type: 'button', className: 'nbpeft-sort' }, text + mark);
    button.dataset.sort = key;
    button.addEventListener('click', () => {
      onClick(now ? !now.down : false);
      this.draw();
      this.table.querySelector(`[data-sort="${key}"]`)?.focus({ preventScroll: true });
    });
    return button;
  }

  head(data, columns) {
    const cell = (text, column) => {
      const now = this.look.rowsBy?.column === column ? this.look.rowsBy : null;
      const made = element('th', { scope: 'col' }, this.sorter(text, now, `row${column}`, down => {
        this.look.rowsBy = { column, down };
      }));
      made.setAttribute('aria-sort', now ? (now.down ? 'descending' : 'ascending') : 'none');
      return made;
    };
    return element('thead', {}, element('tr', {},
      cell('prompt', -1),
      ...(data.expected ? [element('th', { scope: 'col' }, 'expected')] : []),
      ...columns.map(place => cell(data.columns[place], place))));
  }

  row(data, row, columns) {
    return element('tr', {},
      element('th', { scope: 'row' }, row.prompt),
      ...(data.expected ? [element('td', {}, row.expected)] : []),
      ...columns.map(place => this.answer(data, row, place)));
  }

  answer(data, row, place) {
    const { text, spans } = row.answers[place];
    const key = `${row.place} ${place}`;
    const shown = this.look.marked.has(key) && spans.length;
    const words = element('button', { type: 'button', className: 'nbpeft-words' });
    words.append(...(shown
      ? spans.map(([piece, mark]) => element(mark ? 'ins' : 'span',
          { className: mark ? `nbpeft-${mark}` : '' }, piece))
      : [text]));
    words.disabled = !spans.length;
    words.title = spans.length ? 'what differs from the base' : '';
    words.setAttribute('aria-pressed', String(!!shown));
    words.addEventListener('click', () => {
      if (!this.look.marked.delete(key)) this.look.marked.add(key);
      words.replaceWith(this.answer(data, row, place).firstChild);
    });
    const cell = element('td', {}, words);
    if (data.more && data.columns.length > 1) {
      const best = element('button', { type: 'button', className: 'nbpeft-vote' },
        row.best === place ? '★' : '☆');
      best.title = 'the best answer';
      best.setAttribute('aria-label', `${data.columns[place]} answers best`);
      best.setAttribute('aria-pressed', String(row.best === place));
      best.addEventListener('click', () => this.model.send({ vote: [row.place, place] }));
      cell.append(best);
    }
    return cell;
  }

  markAll() {
    const { rows, columns } = this.model.get('table');
    const every = rows.flatMap((_, row) => columns.map((_, place) => `${row} ${place}`));
    this.look.marked = new Set(this.look.marked.size ? [] : every);
    this.draw();
  }

  foot(data, columns) {
    return element('tfoot', {}, ...data.figures.map((figure, place) => {
      const now = this.look.columnsBy?.figure === place ? this.look.columnsBy : null;
      const sort = this.sorter(figure[0], now, `figure${place}`, down => {
        this.look.columnsBy = { figure: place, down };
      });
      return element('tr', {},
        element('th', { scope: 'row' }, sort),
        ...(data.expected ? [element('td')] : []),
        ...columns.map(column => element('td', {}, figure[column + 1] ?? '')));
    }));
  }

  tell() {
    const { busy, text } = this.model.get('status');
    this.status.textContent = text;
    this.add.disabled = this.others.disabled = busy;
    if (!busy && !text) this.prompt.value = ''; // it was answered
  }
}

export default {
  render({ model, el }) {
    const shown = new Comparison(model, el.appendChild(document.createElement('div')));
    const draw = () => shown.draw();
    const tell = () => shown.tell();
    model.on('change:table', draw);
    model.on('change:status', tell);
    return () => {
      model.off('change:table', draw);
      model.off('change:status', tell);
    };
  }
};
