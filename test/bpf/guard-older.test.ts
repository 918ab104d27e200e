// What the guard promises must hold in the forms of older kernels, forced on this one.
import './guard.test.ts'
