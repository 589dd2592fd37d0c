//! What runs in the kernel.
