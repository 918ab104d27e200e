import test from 'ava'
import { compliance } from '../../src/kernel/compliance/suite.ts'
import { openNativeRig } from './rig.ts'

compliance(test, () => openNativeRig('native'))
