import test from 'ava'
import { testKernel } from '../../testing/kernel.ts'
import { tunnelCompliance } from '../compliance.ts'
import { NodeTunnels } from './transport.ts'

tunnelCompliance(
  test,
  'node:http2',
  testKernel,
  (kernel, clock) => new NodeTunnels({ kernel, clock }),
)
