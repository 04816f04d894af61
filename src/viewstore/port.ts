import type { View, ViewDelta } from '../core/view.js';

/** The view leader's durable state. */
export interface ViewStore {
  /** The newest stored view; null in a new store. */
  load(): Promise<View | null>;
  /** Durable when resolved. Call in epoch order, one at a time. */
  append(delta: ViewDelta, view: View): Promise<void>;
  close(): Promise<void>;
}
