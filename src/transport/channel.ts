import { type ChannelCredentials, type ChannelOptions, credentials } from '@grpc/grpc-js';

import { MESSAGE_BYTES } from './server.js';

/**
 * Options of every channel that this project opens: a silent cut is noticed, retries are ours, and
 * a server that came back is found quickly.
 */
export function channelOptions(): ChannelOptions {
  return {
    'grpc.enable_retries': 0,
    'grpc.keepalive_time_ms': 1000,
    'grpc.keepalive_timeout_ms': 1000,
    'grpc.initial_reconnect_backoff_ms': 50,
    'grpc.min_reconnect_backoff_ms': 50,
    'grpc.max_reconnect_backoff_ms': 500,
    'grpc.max_receive_message_length': MESSAGE_BYTES,
    'grpc.max_send_message_length': MESSAGE_BYTES,
    'grpc.use_local_subchannel_pool': 1,
  };
}

export function insecure(): ChannelCredentials {
  return credentials.createInsecure();
}
