// Schemas of the answers: what is not in them is not sent, so that nothing slips out by accident.

type Schema = Readonly<Record<string, unknown>>

const text: Schema = { type: 'string' }
const number: Schema = { type: 'number' }
const flag: Schema = { type: 'boolean' }
const list = (items: Schema): Schema => ({ type: 'array', items })
const record = (values: Schema): Schema => ({ type: 'object', additionalProperties: values })

/** All required, but those whose names end with a question mark. */
function object(fields: Readonly<Record<string, Schema>>): Schema {
  const names = Object.keys(fields)
  return {
    type: 'object',
    required: names.filter((name) => !name.endsWith('?')),
    properties: Object.fromEntries(
      Object.entries(fields).map(([name, schema]) => [name.replace('?', ''), schema]),
    ),
  }
}

export const STATUS: Schema = object({
  version: text,
  node: text,
  pid: number,
  startedAt: text,
  uptimeMs: number,
  config: object({
    version: number,
    state: text,
    'refusal?': text,
    issues: list(object({ severity: text, text })),
    issuesLeftOut: number,
  }),
  workers: object({ wanted: number, alive: list(number) }),
  kernel: object({ release: text, forms: record(text) }),
  workloads: object({ known: number, local: number, enrolled: number }),
  services: number,
  policies: number,
  certificates: object({ valid: number, awaited: number, failing: number }),
  counters: record(number),
  dns: record(number),
})

export const WORKLOADS: Schema = object({
  node: text,
  workloads: list(
    object({
      uid: text,
      namespace: text,
      name: text,
      node: text,
      identity: text,
      addresses: list(text),
      network: text,
      'match?': text,
      'enrolled?': flag,
      'why?': text,
      'listening?': list(number),
      services: list(text),
      policies: list(text),
      peerMode: text,
      peerModeByPort: record(text),
      inMesh: flag,
    }),
  ),
  leftOut: number,
})

const END = {
  'uid?': text,
  'workload?': text,
  'namespace?': text,
  'ip?': text,
  'identity?': text,
  'node?': text,
}

const LABELS = {
  direction: text,
  path: text,
  source: object(END),
  destination: object({ ...END, port: number, 'service?': text }),
}

const COUNTS = {
  opened: number,
  open: number,
  failed: record(number),
  sentBytes: number,
  receivedBytes: number,
  latency: list(number),
}

export const CONNECTIONS: Schema = object({
  node: text,
  atMs: number,
  latencyBoundsMs: list(number),
  flows: list(object({ ...LABELS, ...COUNTS })),
  flowsLeftOut: number,
  'others?': object(COUNTS),
  forgotten: number,
  silentWorkers: list(number),
  'live?': list(
    object({
      ...LABELS,
      sourceAddress: text,
      destinationAddress: text,
      sentBytes: number,
      receivedBytes: number,
      ageMs: number,
    }),
  ),
  'liveLeftOut?': number,
})

export const CERTIFICATES: Schema = object({
  node: text,
  certificates: list(
    object({
      identity: text,
      state: text,
      'serialNumber?': text,
      'issuer?': text,
      'notBefore?': text,
      'notAfter?': text,
      'renewAt?': text,
      failures: number,
      'failure?': text,
    }),
  ),
})

export const FAULT: Schema = object({ error: text, remedy: text })
