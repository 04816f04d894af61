/** Largest gRPC message: more than any request within the limits of `core/refusal.ts`. */
export const MESSAGE_BYTES = 16 * 1024 * 1024;

/** What a stream may hold, at either end (U3). Sizes are rough: values, keys and a bit for each. */
export interface StreamLimits {
  /** Operations or messages of one frame. */
  readonly frameCount: number;
  /** A frame that has reached this size takes nothing more. */
  readonly frameBytes: number;
  /** Given to gRPC and not yet taken by the network; the rest waits here, where it can be cut. */
  readonly inFlightBytes: number;
  /** Operations one stream may have unanswered. */
  readonly outstanding: number;
  /** What may wait for a peer that does not read. */
  readonly waitingBytes: number;
}

export const STREAM_LIMITS: StreamLimits = {
  frameCount: 1024,
  frameBytes: 1024 * 1024,
  inFlightBytes: 1024 * 1024,
  outstanding: 16_384,
  waitingBytes: 64 * 1024 * 1024,
};
