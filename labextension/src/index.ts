/** What JupyterLab and Notebook load: a thread from every notebook to nbpeft in its kernel. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { INotebookTracker } from '@jupyterlab/notebook';

import { greet } from './greeting';
import { showTheRest } from './leftover';
import { stopOnClick } from './stop';

const plugin: JupyterFrontEndPlugin<void> = {
  id: 'nbpeft:page',
  description: 'Tells nbpeft that this page shows its widgets, and brings Stop to a busy kernel.',
  autoStart: true,
  requires: [INotebookTracker],
  activate: (_app: JupyterFrontEnd, notebooks: INotebookTracker) => {
    notebooks.widgetAdded.connect((_, panel) => {
      greet(panel.sessionContext);
      showTheRest(panel);
    });
    stopOnClick(notebooks);
  }
};

export default plugin;
