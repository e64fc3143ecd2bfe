/** An element with its children; texts stay text: names are other people's words. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** A button that says in full what it does to who points at it or has it read aloud. */
export function button(label: string, does: string, act: () => void): HTMLButtonElement {
  const made = element('button', { type: 'button', title: does, onclick: act }, label);
  made.dataset.does = does;
  made.setAttribute('aria-label', does);
  return made;
}

/**
 * Put others in the place of what is in an element; the focus stays where it was, if it can.
 *
 * They may hold what was there, and are made in here: moving it is enough to lose the focus.
 */
export function refill(place: HTMLElement, make: () => (Node | string)[]): void {
  const before = document.activeElement as HTMLElement | null;
  const within = before && place.contains(before) ? before : null;
  const typed = within instanceof HTMLInputElement ? within : null;
  const [start, end] = [typed?.selectionStart ?? null, typed?.selectionEnd ?? null];
  place.replaceChildren(...make());
  if (within && place.contains(within)) {
    within.focus();
    typed?.setSelectionRange(start, end);
  } else if (within?.dataset.does) {
    focusOn(place, within.dataset.does);
  }
}

/** Focus what does this. */
export function focusOn(place: HTMLElement, does: string): void {
  place.querySelector<HTMLElement>(`[data-does="${CSS.escape(does)}"]`)?.focus();
}
