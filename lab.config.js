// Tests that need root, BPF and namespaces: each file has a lab of its own, and its tests run one
// after the other.
export default {
  extensions: ['ts'],
  files: ['test/**/*.test.ts', '!test/tidy/**'],
  serial: true,
  timeout: `${3 * Number(process.env.WEFT_PATIENCE ?? 1)}m`,
}
