import type { INotebookTracker } from '@jupyterlab/notebook';
import type { Kernel } from '@jupyterlab/services';
import type { IStatusBar } from '@jupyterlab/statusbar';
import { Widget } from '@lumino/widgets';

/** What the kernel says of itself after each cell (nbpeft/listing/now.py). */
export type News = { attached: string; memory: string };

/** The latest of each kernel, by its id. */
const latest = new Map<string, News>();
let changed = () => {};

/** Keep what a kernel says, and show it where its notebook is looked at. */
export function heard(kernel: Kernel.IKernelConnection, news: News): void {
  if (typeof news?.attached === 'string' && typeof news.memory === 'string') {
    latest.set(kernel.id, news);
    changed();
  }
}

/** nbpeft in that kernel is gone. */
export function gone(kernel: Kernel.IKernelConnection): void {
  latest.delete(kernel.id);
  changed();
}

/** An item in the status bar: the adapter that the notebook's model answers as, and memory. */
export function showStatus(bar: IStatusBar, notebooks: INotebookTracker): void {
  const item = new Widget({ node: document.createElement('span') });
  item.addClass('jp-StatusBar-TextItem');
  item.title.caption = 'nbpeft: what the model answers as, and the memory in use';
  item.node.title = item.title.caption;
  const current = () => {
    const id = notebooks.currentWidget?.sessionContext.session?.kernel?.id;
    return id === undefined ? undefined : latest.get(id);
  };
  changed = () => {
    const news = current();
    // As text: an adapter's name is other people's words.
    item.node.textContent = news ? `nbpeft: ${news.attached} · ${news.memory}` : '';
  };
  notebooks.currentChanged.connect(() => changed());
  bar.registerStatusItem('nbpeft:status', { item, align: 'left', rank: 5 });
}
