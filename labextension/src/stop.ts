import type { INotebookTracker } from '@jupyterlab/notebook';
import type { Kernel } from '@jupyterlab/services';

import { control } from './control';

/** What a widget's Stop button sends up the page (nbpeft/views/widget/live.js). */
const ASKED = 'nbpeft:stop';
const PATIENCE = 2000; // milliseconds for a kernel to answer it

/** Bring a click on Stop, anywhere in a notebook, to that notebook's kernel. */
export function stopOnClick(notebooks: INotebookTracker): void {
  const asked = new Set<string>();
  document.addEventListener(ASKED, event => {
    const panel = notebooks.find(one => one.node.contains(event.target as Node));
    const kernel = panel?.sessionContext.session?.kernel;
    const run = (event as CustomEvent).detail?.run;
    if (!kernel || typeof run !== 'string') {
      return;
    }
    event.preventDefault(); // says that somebody sees to it
    // A step may take minutes: who asks again wants it broken off.
    void (asked.has(run) ? kernel.interrupt() : stop(kernel, run));
    asked.add(run);
  });
}

/** Ask on the control channel; a kernel that doesn't answer there is interrupted. */
export async function stop(kernel: Kernel.IKernelConnection, run: string): Promise<void> {
  const answered = control(kernel, 'nbpeft_stop', { run });
  const waited = new Promise<boolean>(resolve => setTimeout(resolve, PATIENCE, false));
  if (!(await Promise.race([answered, waited]))) {
    await kernel.interrupt();
  }
}
