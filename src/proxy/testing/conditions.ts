// Waiting for what happens on the loop, without sleeping for a fixed time.

/** Resolves when the condition holds; rejects after `timeoutMs` with what was waited for. */
export async function until(
  what: string,
  condition: () => boolean,
  timeoutMs = 10_000,
): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs
  while (!condition()) {
    if (performance.now() > deadlineMs) throw new Error(`waited in vain for: ${what}`)
    await new Promise((resolve) => setImmediate(resolve))
  }
}
