/** Largest gRPC message: more than any request within the limits of `core/refusal.ts`. */
export const MESSAGE_BYTES = 16 * 1024 * 1024;

/** What a stream may hold, at either end (U3). */
export const STREAM_LIMITS = {
  /** Operations or messages of one frame. */
  frameCount: 4096,
  /** A frame that has reached this size takes nothing more. */
  frameBytes: 1024 * 1024,
  /** Frames given to gRPC and not written yet; what comes meanwhile is the next frame. */
  framesInFlight: 2,
  /** Answers that a client leaves unread before nothing more is read from it, in bytes. */
  pausedBytes: 4 * 1024 * 1024,
  /** What may wait for someone who does not read; beyond that it is cut off, or dropped. */
  waitingBytes: 64 * 1024 * 1024,
  /** Operations that one stream may have unanswered. */
  outstanding: 16_384,
} as const;
