//! Stacksonde plugin `btf-offsets`.
