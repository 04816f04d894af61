import {
  type ChannelCredentials,
  type ChannelOptions,
  type Client,
  connectivityState,
  credentials,
} from '@grpc/grpc-js';

import { MESSAGE_BYTES } from './limits.js';

/** How long a connection may take to come up. */
const CONNECT_MS = 2000;

/**
 * Options of a channel between servers. Retries are ours. A silent cut heals without a reset, so
 * pings go out more often than a lease runs out. A server that came back is found quickly.
 */
export function channelOptions(): ChannelOptions {
  return {
    'grpc.enable_retries': 0,
    'grpc.keepalive_time_ms': 300,
    'grpc.keepalive_timeout_ms': 700,
    'grpc.initial_reconnect_backoff_ms': 50,
    'grpc.min_reconnect_backoff_ms': 50,
    'grpc.max_reconnect_backoff_ms': 500,
    'grpc.max_receive_message_length': MESSAGE_BYTES,
    'grpc.max_send_message_length': MESSAGE_BYTES,
    'grpc.use_local_subchannel_pool': 1,
  };
}

/** From a client: they are many, mostly idle, and a ping wakes two processes. */
export function clientChannelOptions(): ChannelOptions {
  return {
    ...channelOptions(),
    'grpc.keepalive_time_ms': 1000,
    'grpc.keepalive_timeout_ms': 1000,
  };
}

/**
 * To the view leader: it may be busy for a moment, with a view of many buckets for many servers,
 * and nobody waits for it.
 */
export function leaderChannelOptions(): ChannelOptions {
  return {
    ...channelOptions(),
    'grpc.keepalive_time_ms': 1000,
    'grpc.keepalive_timeout_ms': 5000,
  };
}

export function insecure(): ChannelCredentials {
  return credentials.createInsecure();
}

/**
 * Calls `done` once: at once when the client is connected, otherwise when its connection is there
 * or has failed. What is written only after that is known not to have left if it fails (D4).
 */
export function whenConnected(client: Client, done: (connected: boolean) => void): void {
  const channel = client.getChannel();
  const deadline = Date.now() + CONNECT_MS;
  const look = (late?: Error): void => {
    const state = channel.getConnectivityState(true);
    if (state === connectivityState.READY) done(true);
    else if (state === connectivityState.TRANSIENT_FAILURE || late !== undefined) done(false);
    else channel.watchConnectivityState(state, deadline, (error) => look(error));
  };
  look();
}
