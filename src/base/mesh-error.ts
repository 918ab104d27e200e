// A failed operation, wrapped once at the border of the room where it failed.

/**
 * `code` is constant and greppable (`kernel.load`, `identity.sign`); `message` says what was being
 * attempted and what to do about it; `cause` keeps the original error.
 */
export class MeshError extends Error {
  readonly code: string

  constructor(code: string, message: string, options: { readonly cause?: unknown } = {}) {
    super(message, options)
    this.name = 'MeshError'
    this.code = code
  }
}

/** The text of whatever was thrown, without a stack. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
