// Reads the TAP that ava writes, line by line, into results. Pure.

const RESULT = /^(not )?ok \d+ - (.*?)(?: # (SKIP|TODO)\b.*)?$/
const OPEN = '  ---'
const CLOSE = '  ...'

/**
 * A reader of one run. `onResult` is called for each test, once its diagnosis (the YAML lines that
 * may follow) is complete: `{ title, outcome: 'passed' | 'failed' | 'skipped', diagnosis }`.
 * Lines that are neither go to `onOther`.
 */
export function tapReader({ onResult, onOther = () => {} }) {
  let pending
  let isInside = false
  const flush = () => {
    if (pending !== undefined) onResult(pending)
    pending = undefined
  }
  return {
    line(text) {
      if (isInside) {
        if (text === CLOSE) isInside = false
        else pending.diagnosis.push(text)
        if (!isInside) flush()
        return
      }
      if (text === OPEN && pending !== undefined) {
        isInside = true
        return
      }
      const result = RESULT.exec(text)
      if (result === null) {
        if (!isPlan(text)) onOther(text)
        return
      }
      flush()
      pending = { title: result[2], outcome: outcomeOf(result), diagnosis: [] }
    },
    end: flush,
  }
}

/** A test that is only planned proves as little as one that is skipped. */
function outcomeOf([, not, , directive]) {
  if (directive !== undefined) return 'skipped'
  return not === undefined ? 'passed' : 'failed'
}

function isPlan(text) {
  return text === '' || /^(TAP version|1\.\.\d+|# (tests|pass|skip|fail|todo) \d+)/.test(text)
}
