import { Kernel, KernelMessage } from '@jupyterlab/services';

/** What nbpeft reads on the control channel, also while a cell runs (nbpeft/page.py). */
export type Message = 'nbpeft_hello' | 'nbpeft_stop';

/** Send it; what the kernel answers. One that knows nothing of it never does. */
export async function control(
  kernel: Kernel.IKernelConnection,
  msgType: Message,
  content: Record<string, string> = {}
): Promise<{ comm?: string | null }> {
  const message = KernelMessage.createMessage({
    msgType,
    channel: 'control',
    session: kernel.clientId,
    username: kernel.username,
    content
  } as any) as any; // services knows the types of messages that it defines itself
  const reply = await kernel.sendControlMessage(message, true, true).done;
  return (reply?.content ?? {}) as any;
}
