"""The machine under the model: devices, memory, cancellation, interrupts, timing."""
