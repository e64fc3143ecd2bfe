import { CodeCell } from '@jupyterlab/cells';
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { Kernel } from '@jupyterlab/services';

const VIEW = 'application/vnd.jupyter.widget-view+json';

/**
 * Where a notebook was saved in the middle of a run, or with buttons, and the kernel has ended, its
 * output names a widget that is nowhere. What stands beside it is shown: how far the run came, or
 * that the buttons are gone.
 */
export function showTheRest(panel: NotebookPanel): void {
  const session = panel.sessionContext;
  const look = async (kernel: Kernel.IKernelConnection | null | undefined) => {
    await panel.context.ready;
    const there = kernel ? await widgetsOf(kernel) : new Set<string>();
    for (const cell of panel.content.widgets) {
      if (cell instanceof CodeCell) {
        for (let place = 0; place < cell.outputArea.model.length; place++) {
          const output = cell.outputArea.model.get(place);
          const { [VIEW]: view, ...rest } = output.data as any;
          const ours = view && String(rest['text/plain']).startsWith('[nbpeft] ');
          if (ours && !there.has(view.model_id)) {
            output.setData({ data: rest, metadata: output.metadata });
          }
        }
      }
    }
  };
  session.kernelChanged.connect((_, change) => void look(change.newValue));
  session.statusChanged.connect((_, status) => {
    if (status === 'restarting' || status === 'dead') {
      void look(null);
    }
  });
  void session.ready.then(() => look(session.session?.kernel));
}

/** The ids of the widgets that the kernel holds; the answer comes when it isn't busy. */
async function widgetsOf(kernel: Kernel.IKernelConnection): Promise<Set<string>> {
  const { content } = await kernel.requestCommInfo({ target_name: 'jupyter.widget' });
  return new Set(content.status === 'ok' ? Object.keys(content.comms) : []);
}
