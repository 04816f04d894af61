import type { Ordinal } from '../core/ids.js';
import type { LeaderMessage, PeerMessage } from '../core/message.js';
import type { Operation, Result } from '../core/operation.js';
import type { View } from '../core/view.js';
import { channelOptions } from '../transport/channel.js';
import { PeerLink, type Sender } from '../transport/link.js';
import { FrameClient } from '../transport/stream.js';
import type { Network } from './driver.js';

/** Links to the other servers of the view, by ordinal; a new address makes a new link. */
export class PeerNetwork implements Network {
  private readonly links = new Map<Ordinal, PeerLink>();
  private readonly doors = new Map<Ordinal, { address: string; frames: FrameClient }>();

  constructor(
    private readonly sender: Sender,
    private readonly view: () => View,
    private readonly leader: (message: LeaderMessage) => void,
  ) {}

  send(to: Ordinal, message: PeerMessage): void {
    const address = this.addressOf(to);
    if (address === undefined) return;
    let link = this.links.get(to);
    if (link?.address !== address) {
      link?.close();
      link = new PeerLink(address, this.sender, to);
      this.links.set(to, link);
    }
    link.send(message);
  }

  flush(): void {
    for (const link of this.links.values()) link.flush();
  }

  /** The server has just connected to this one. */
  retry(to: Ordinal): void {
    this.links.get(to)?.retry();
  }

  toLeader(message: LeaderMessage): void {
    this.leader(message);
  }

  forward(to: Ordinal, operation: Operation, done: (result: Result | null) => void): void {
    const address = this.addressOf(to);
    if (address === undefined) {
      done(null);
      return;
    }
    let door = this.doors.get(to);
    if (door?.address !== address) {
      door?.frames.close();
      door = { address, frames: new FrameClient(address, channelOptions()) };
      this.doors.set(to, door);
    }
    const { bucketEpoch, timeoutMs } = operation;
    const onBroken = (): void => done(null);
    door.frames.submit({ operation, bucketEpoch, timeoutMs, onResult: done, onBroken });
  }

  close(): void {
    for (const link of this.links.values()) link.close();
    for (const { frames } of this.doors.values()) frames.close();
  }

  private addressOf(to: Ordinal): string | undefined {
    return this.view().members.get(to)?.address;
  }
}
