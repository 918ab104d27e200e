export default {
  extensions: ['ts', 'mjs'],
  files: ['src/**/*.test.ts', 'scripts/*.test.mjs', 'test/tidy/**/*.test.ts'],
  timeout: '2m',
}
