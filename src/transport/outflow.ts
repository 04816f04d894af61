import type { Buffer } from 'node:buffer';

import { STREAM_LIMITS } from './limits.js';

/** The writing half of a gRPC stream of raw frames. */
export interface FrameStream {
  write(frame: Buffer, written: () => void): boolean;
}

/**
 * The frames of one stream on their way. Few at a time: while they are being written, what else is
 * to be said gathers into the next frame, so that frames grow under load and stay small without.
 */
export class Outflow {
  /** Given to the stream and not written yet. */
  bytes = 0;
  private frames = 0;

  constructor(
    private readonly stream: FrameStream,
    /** A frame was written: there may be room again. */
    private readonly onRoom: () => void,
  ) {}

  /** Another frame may be written now. */
  get room(): boolean {
    return this.frames < STREAM_LIMITS.framesInFlight;
  }

  write(frame: Buffer): void {
    this.frames += 1;
    this.bytes += frame.length;
    this.stream.write(frame, () => {
      this.frames -= 1;
      this.bytes -= frame.length;
      this.onRoom();
    });
  }
}
