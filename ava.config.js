export default {
  extensions: ['ts'],
  files: ['src/**/*.test.ts', 'test/tidy/**/*.test.ts'],
  timeout: '2m',
}
