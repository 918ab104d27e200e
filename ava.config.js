export default {
  extensions: { ts: 'module' },
  files: ['src/**/*.test.ts', 'test/tidy/**/*.test.ts'],
  timeout: '2m',
}
