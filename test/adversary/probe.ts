// A program that stays in its place and tries connections when it is told to: many verdicts are
// asked for, and starting a client for each would take most of the time.
import { fileURLToPath } from 'node:url'
import type { Program, RunOptions } from '../lab/program.ts'
import { PYTHON } from '../lab/programs.ts'
import { waitUntil } from '../lab/wait.ts'
import type { Report } from '../mesh/mesh.ts'

const PROBE = fileURLToPath(new URL('programs/probe.py', import.meta.url))

export class Probe {
  readonly #program: Program
  #asked = 0
  #last: Promise<unknown> = Promise.resolve()

  private constructor(program: Program) {
    this.#program = program
  }

  static async start(place: {
    run(argv: readonly string[], options: RunOptions): Promise<Program>
  }): Promise<Probe> {
    return new Probe(await place.run([PYTHON, '-u', PROBE], { waitFor: 'ready' }))
  }

  /** One after the other, whoever asks. */
  ask(host: string, port: number): Promise<Report> {
    const answer = this.#last.then(() => this.#ask(host, port))
    this.#last = answer.catch(() => {})
    return answer
  }

  async #ask(host: string, port: number): Promise<Report> {
    this.#asked++
    const answers = () => this.#program.stdout.trimEnd().split('\n').slice(1)
    this.#program.write(`${host} ${port}\n`)
    await waitUntil(
      () => this.#program.stdout.endsWith('\n') && answers().length >= this.#asked,
      `an answer about ${host} port ${port}`,
      { everyMs: 2 },
    )
    return JSON.parse(answers().at(-1) ?? '') as Report
  }
}
