import type { Cell } from '@jupyterlab/cells';
import type { IEditorLanguageRegistry } from '@jupyterlab/codemirror';
import type { NotebookPanel } from '@jupyterlab/notebook';

/** Cells whose bodies are YAML, or YAML above the line --- (nbpeft/magics). */
const YAML = /^\s*%%(finetune|distill|peft_fit|peft_attach)\b/;
const MIME = 'text/x-yaml';

/** Show such cells in YAML's colours, and others in those of the kernel's language. */
export function colourBodies(panel: NotebookPanel, languages: IEditorLanguageRegistry): void {
  const watched = new WeakSet<Cell>();
  const watch = (cell: Cell) => {
    if (cell.model.type !== 'code' || watched.has(cell)) {
      return;
    }
    watched.add(cell);
    const wrong = () =>
      YAML.test(cell.model.sharedModel.getSource()) !== (cell.model.mimeType === MIME);
    const colour = async () => {
      if (wrong()) {
        // An editor keeps the language that arrives last, not the one that was asked for last: the
        // one that it has been asked for comes first.
        await languages.getLanguage(cell.model.mimeType);
        if (wrong()) {
          const yaml = cell.model.mimeType !== MIME;
          cell.model.mimeType = yaml ? MIME : panel.content.codeMimetype;
        }
      }
    };
    cell.model.contentChanged.connect(() => void colour());
    // The notebook sets the kernel's language to all cells, each time that it learns it.
    cell.model.mimeTypeChanged.connect(() => void colour());
    void colour();
  };
  const watchAll = () => panel.content.widgets.forEach(watch);
  void panel.context.ready.then(() => {
    watchAll();
    panel.content.modelContentChanged.connect(watchAll);
  });
}
