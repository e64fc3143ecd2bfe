import type { JupyterFrontEnd } from '@jupyterlab/application';
import { ICommandPalette, ToolbarButton } from '@jupyterlab/apputils';
import { INotebookTracker, NotebookActions, NotebookPanel } from '@jupyterlab/notebook';
import { Menu } from '@lumino/widgets';

const LOAD = '%load_ext nbpeft';

/** What can be begun with a click: a command's id, what it is called, its cell, whether it is run. */
const CELLS: ReadonlyArray<readonly [id: string, label: string, source: string, run?: boolean]> = [
  ['model', 'The embedded model and its chats', 'import nbpeft\n\nmodel, tokenizer = nbpeft.load_tiny()\nchats = nbpeft.load_data("pirate")'],
  ['form', 'Tune with a form: %finetune', '%finetune', true],
  ['distill-form', 'Distill with a form: %distill', '%distill', true],
  ['finetune', 'Tune the model: %%finetune', '%%finetune pirate --data tiny:pirate\nepochs: 1\nlearning_rate: 1e-3'],
  ['distill', 'Learn a context: %%distill', '%%distill brief --prompts tiny:questions\nmax_steps: 20\n---\nAnswer like a pirate.'],
  ['data', 'Look at data: %peft_data', '%peft_data tiny:pirate'],
  ['fit', 'Will it fit into memory: %peft_fit', '%peft_fit --data tiny:pirate'],
  ['compare', 'Compare answers: %%peft_compare', '%%peft_compare\nWho are you?'],
  ['rate', 'Rate answers, blind: %%peft_rate', '%%peft_rate\nWho are you?'],
  ['adapters', 'List adapters: %peft_adapters', '%peft_adapters'],
  ['memory', 'Who holds memory: %peft_memory', '%peft_memory']
];

/** Commands that insert cells, in the palette and under a button of each notebook. */
export function offerCells(
  app: JupyterFrontEnd,
  notebooks: INotebookTracker,
  palette: ICommandPalette | null
): void {
  const menu = new Menu({ commands: app.commands });
  for (const [id, label, source, run] of CELLS) {
    const command = `nbpeft:insert-${id}`;
    app.commands.addCommand(command, {
      label,
      caption: `Insert a cell below${run ? ' and run it' : ''}: ${source.split('\n')[0]}`,
      isEnabled: () => notebooks.currentWidget !== null,
      execute: () => {
        const panel = notebooks.currentWidget;
        return panel && (run ? insertAndRun(panel, source) : insert(panel, source));
      }
    });
    menu.addItem({ command });
    palette?.addItem({ command, category: 'nbpeft' });
  }
  app.docRegistry.addWidgetExtension('Notebook', {
    createNew: (panel: NotebookPanel) => {
      const button = new ToolbarButton({
        label: 'nbpeft',
        tooltip: 'Insert a cell of nbpeft',
        onClick: () => {
          const { left, bottom } = button.node.getBoundingClientRect();
          menu.open(left, bottom);
        }
      });
      panel.toolbar.insertAfter('cellType', 'nbpeft', button);
      return button;
    }
  });
}

/** Below the cell that is looked at; and before it what loads nbpeft, where no cell does. */
export function insert(panel: NotebookPanel, source: string): void {
  if (!loads(panel)) {
    add(panel, LOAD);
  }
  add(panel, source);
}

/** The same, and run. */
export function insertAndRun(panel: NotebookPanel, source: string): void {
  for (const text of loads(panel) ? [source] : [LOAD, source]) {
    add(panel, text);
    void NotebookActions.run(panel.content, panel.sessionContext);
  }
}

/** A cell that the kernel has written, below the one of that id, and into view. */
export function insertBelow(panel: NotebookPanel, source: string, below: string): void {
  const notebook = panel.content;
  const place = notebook.widgets.findIndex(cell => cell.model.id === below);
  if (place !== -1) {
    notebook.activeCellIndex = place;
  }
  NotebookActions.insertBelow(notebook);
  notebook.activeCell?.model.sharedModel.setSource(source);
  void notebook.scrollToItem(notebook.activeCellIndex);
}

/** Whether a cell loads nbpeft. */
function loads(panel: NotebookPanel): boolean {
  const cells = [...(panel.content.model?.cells ?? [])];
  return cells.some(cell => cell.sharedModel.getSource().includes(LOAD));
}

/** Into the cell that is looked at if that is empty, else into a new one below. */
function add(panel: NotebookPanel, source: string): void {
  const notebook = panel.content;
  const active = notebook.activeCell?.model;
  if (active?.type !== 'code' || active.sharedModel.getSource().trim()) {
    NotebookActions.insertBelow(notebook);
  }
  notebook.activeCell?.model.sharedModel.setSource(source);
}
