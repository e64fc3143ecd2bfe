/** What JupyterLab and Notebook load: a thread from every notebook to nbpeft in its kernel. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { IEditorLanguageRegistry } from '@jupyterlab/codemirror';
import { INotebookTracker } from '@jupyterlab/notebook';
import { IStatusBar } from '@jupyterlab/statusbar';

import { offerCells } from './cells';
import { colourBodies } from './colours';
import { greet } from './greeting';
import { showTheRest } from './leftover';
import { showSidebar } from './sidebar';
import { showStatus } from './status';
import { stopOnClick } from './stop';

const plugin: JupyterFrontEndPlugin<void> = {
  id: 'nbpeft:page',
  description: "nbpeft's widgets and Stop, its cells in the palette, YAML's colours in its bodies.",
  autoStart: true,
  requires: [INotebookTracker, IEditorLanguageRegistry],
  optional: [ICommandPalette, IStatusBar],
  activate: (
    app: JupyterFrontEnd,
    notebooks: INotebookTracker,
    languages: IEditorLanguageRegistry,
    palette: ICommandPalette | null,
    bar: IStatusBar | null
  ) => {
    notebooks.widgetAdded.connect((_, panel) => {
      greet(panel);
      showTheRest(panel);
      colourBodies(panel, languages);
    });
    stopOnClick(notebooks);
    offerCells(app, notebooks, palette);
    showSidebar(app, notebooks);
    if (bar) {
      showStatus(bar, notebooks);
    }
  }
};

export default plugin;
