import type { INotebookTracker } from '@jupyterlab/notebook';
import type { IStatusBar } from '@jupyterlab/statusbar';
import { Widget } from '@lumino/widgets';

import { latest } from './news';

/** An item in the status bar: the adapter that the notebook's model answers as, and memory. */
export function showStatus(bar: IStatusBar, notebooks: INotebookTracker): void {
  const item = new Widget({ node: document.createElement('span') });
  item.addClass('jp-StatusBar-TextItem');
  item.node.title = 'nbpeft: what the model answers as, and the memory in use';
  const show = () => {
    const news = latest.of(notebooks.currentWidget?.sessionContext.session?.kernel);
    // As text: an adapter's name is other people's words.
    item.node.textContent = news?.attached ? `nbpeft: ${news.attached} · ${news.memory}` : '';
  };
  latest.changed.connect(show);
  notebooks.currentChanged.connect(show);
  bar.registerStatusItem('nbpeft:status', { item, align: 'left', rank: 5 });
}
