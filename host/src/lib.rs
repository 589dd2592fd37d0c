//! Stacksonde, the agent: samples every program and the kernel, and hands profiles to exporters.
//!
//! `ARCHITECTURE.md` shows the house; every module here is one of its rooms.

pub mod config;
pub mod plugins;
