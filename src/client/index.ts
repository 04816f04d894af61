export {
  type Bytes,
  type ClientOptions,
  type Committed,
  connect,
  type Deleted,
  type ExportedRecord,
  KvsClient,
  type Location,
  type SetOptions,
  type SetrWrite,
  type RecordRead,
  type Value,
  type WriteOptions,
  type Written,
} from './client.js';
export { CausalSession } from './causal-session.js';
export { Mode, type Namespace } from '../core/namespace.js';
export { Admin, type RebalanceSteering } from './admin.js';
export { KvsError } from '../transport/status.js';
export { type BucketRow, type Member, MemberState, type View } from '../core/view.js';
