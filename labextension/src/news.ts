import type { Kernel } from '@jupyterlab/services';
import { Signal } from '@lumino/signaling';

/** How things stand in a kernel (nbpeft/listing/now.py), and its runs (nbpeft/views/live.py). */
export type Adapter = {
  name: string;
  about: string;
  attached: boolean;
  versions: number;
  /** nbpeft's, and no adapter of the user's own PeftModel. */
  own: boolean;
};
export type Run = {
  id: string;
  title: string;
  left: string;
  step: number;
  steps: number;
  losses: [number, number][];
  ended: boolean;
};
export type News = {
  attached: string;
  memory: string;
  adapters: Adapter[];
  runs: Map<string, Run>;
  /** What was exported last: where it lies from the notebook's folder, and its bytes. */
  file?: { path: string; size: number };
  /** Why the kernel can't tell more, in a line. */
  problem: string;
};

/** What nbpeft in each kernel has told last, by the kernel's id. */
class Latest {
  readonly changed = new Signal<this, void>(this);
  private readonly known = new Map<string, News>();

  of(kernel: Kernel.IKernelConnection | null | undefined): News | undefined {
    return kernel ? this.known.get(kernel.id) : undefined;
  }

  hear(kernel: Kernel.IKernelConnection, told: any): void {
    const before = this.known.get(kernel.id);
    const news: News = before ?? {
      attached: '',
      memory: '',
      adapters: [],
      runs: new Map(),
      problem: ''
    };
    if (told?.standing) {
      Object.assign(news, { problem: '' }, told.standing);
    }
    if (told?.file) {
      news.file = told.file;
    }
    if (told?.run) {
      const run = told.run as Run;
      run.ended ? news.runs.delete(run.id) : news.runs.set(run.id, run);
    }
    this.known.set(kernel.id, news);
    this.changed.emit();
  }

  /** nbpeft in that kernel is gone. */
  forget(kernel: Kernel.IKernelConnection): void {
    this.known.delete(kernel.id);
    this.changed.emit();
  }
}

export const latest = new Latest();
