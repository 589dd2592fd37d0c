//! Stacksonde plugin `selfprobe-offsets`.
