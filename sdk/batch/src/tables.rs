//! The rows of every table. Text is a [`StringId`]; row 0 of the strings is the empty text.
//!
//! A row's columns lie in the buffer in the order in which they stand here, little-endian, without
//! padding. A column that a later version adds goes into a `+ { … }` block after the row; a
//! batch written before that reads as zero (or the empty text) there.

use crate::row::rows;

/// Index of a row in the table of strings; 0 is the empty text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StringId(pub u32);

/// Reason of a [`Loss`] that is none: samples that the operator's filter leaves out. Every other reason counts
/// samples that were wanted and are missing.
pub const EXCLUDED: &str = "samples_excluded";

/// "No such row" in a column that refers to another table.
pub const NONE: u32 = u32::MAX;

/// Native user code, in [`Location::kind`] and [`Mapping::kind`].
pub const NATIVE: u32 = 0;
/// Kernel code, in [`Location::kind`] and [`Mapping::kind`].
pub const KERNEL: u32 = 1;

/// Calls the macro `$then` with every table: its id in the buffer, its row, the method that reads
/// it, the method that adds a row. Ids are never used again.
macro_rules! every_table {
    ($then:ident) => {
        $then! {
            1 ValueType value_types value_type,
            2 Sample samples sample,
            3 Timestamp timestamps timestamp,
            4 Stack stacks stack,
            5 Frame frames frame,
            6 Location locations location,
            7 Line lines line,
            8 Function functions function,
            9 Mapping mappings mapping,
            10 Process processes process,
            11 Thread threads thread,
            12 Label labels label,
            13 Attribute attributes attribute,
            14 Loss losses loss,
            17 Value value_rows value,
        }
    };
}
pub(crate) use every_table;

/// Id of the table of [`Text`] rows.
pub(crate) const STRINGS: u32 = 15;
/// Id of the table of the bytes that they lie in; its stride is 1.
pub(crate) const STRING_BYTES: u32 = 16;
/// The highest id that is read.
pub(crate) const LAST_ID: u32 = 17;

rows! {
    /// A value that every sample carries, in `unit`: the one in the table of values, or else `count * per_sample`.
    pub struct ValueType {
        /// `"samples"`, `"cpu"`.
        pub kind: StringId,
        /// `"count"`, `"nanoseconds"`.
        pub unit: StringId,
        /// The value of one sample in the mean, in `unit`.
        pub per_sample: u64,
    }

    /// Equal stacks of one thread in the interval.
    pub struct Sample {
        /// Row in the table of threads.
        pub thread: u32,
        /// Row in the table of stacks.
        pub stack: u32,
        /// The number of times that it was sampled.
        pub count: u64,
        /// First row in the table of timestamps; there are `count` of them, or none.
        pub timestamps_start: u32,
        /// Number of timestamps.
        pub timestamps_count: u32,
    } + {
        /// First row in the table of values; there is one for each value type, in their order, or none.
        pub values_start: u32,
        /// Number of values.
        pub values_count: u32,
    }

    /// When a sample was taken.
    pub struct Timestamp {
        /// CLOCK_MONOTONIC, nanoseconds.
        pub time_ns: u64,
    } + {
        /// The value of the sample, in the unit of the last value type; 0: as much as that type says.
        pub value: u64,
    }

    /// A call stack, leaf first: kernel frames, then user frames.
    pub struct Stack {
        /// First row in the table of frames.
        pub frames_start: u32,
        /// Number of frames, kernel and user.
        pub frames_count: u32,
        /// The number of them, from the leaf, that are kernel frames.
        pub kernel_frames: u32,
        /// The outcome of the user part: `"complete"`, `"kernel_thread"`, `"bad_frame_pointer"`, ...
        pub outcome: StringId,
        /// 1 if the stack is whole (a root was reached, or there is no user part by nature), else 0.
        pub complete: u32,
    }

    /// One frame of a stack.
    pub struct Frame {
        /// Row in the table of locations.
        pub location: u32,
    }

    /// A place in a program: a kind, an executable and an address in it.
    pub struct Location {
        /// 0 native user code, 1 kernel code.
        pub kind: u32,
        /// Row in the table of mappings, or [`NONE`].
        pub mapping: u32,
        /// The address stated in the file (ELF `p_vaddr` space); without a mapping, the address in the process.
        /// For a caller it lies inside the call instruction (return address minus one).
        pub address: u64,
        /// First row in the table of lines, innermost inlined function first.
        pub lines_start: u32,
        /// Number of lines; 0 if the location has no name.
        pub lines_count: u32,
    }

    /// A function at a location (several per location where functions were inlined).
    pub struct Line {
        /// Row in the table of functions.
        pub function: u32,
        /// Line in the source file, from 1; 0 if unknown.
        pub line: u32,
        /// Column, from 1; 0 if unknown.
        pub column: u32,
    }

    /// A named function.
    pub struct Function {
        /// Readable name (demangled).
        pub name: StringId,
        /// Name in the symbol table; empty if it is the same.
        pub system_name: StringId,
        /// Source file; empty if unknown.
        pub file: StringId,
        /// Line where the function starts; 0 if unknown.
        pub start_line: u32,
    }

    /// An executable file (or the kernel, or a module) that locations lie in.
    pub struct Mapping {
        /// 0 native user code, 1 kernel code.
        pub kind: u32,
        /// Path as the process saw it; `[vdso]`, `[kernel.kallsyms]`.
        pub path: StringId,
        /// GNU build id in lower-case hex; empty if it has none or it could not be read.
        pub build_id: StringId,
        /// First address stated in the file of the executable segment.
        pub start: u64,
        /// One past its last address.
        pub limit: u64,
        /// Offset of that segment in the file.
        pub file_offset: u64,
    } + {
        /// OpenTelemetry's hash of the file (`process.executable.build_id.htlhash`) in lower-case hex; empty if
        /// it could not be read.
        pub htlhash: StringId,
    }

    /// A process that was sampled.
    pub struct Process {
        /// Process id (thread group id).
        pub pid: u32,
        /// Parent's process id; 0 if unknown.
        pub parent_pid: u32,
        /// Name of its main thread.
        pub comm: StringId,
        /// Path of its executable; empty for kernel threads.
        pub executable: StringId,
        /// Its cgroup path; empty if unknown.
        pub cgroup: StringId,
        /// First row in the table of labels.
        pub labels_start: u32,
        /// Number of labels.
        pub labels_count: u32,
    }

    /// A thread that was sampled.
    pub struct Thread {
        /// Row in the table of processes.
        pub process: u32,
        /// Thread id.
        pub tid: u32,
        /// Its name.
        pub comm: StringId,
    }

    /// A key and a value on a process.
    pub struct Label {
        /// The key.
        pub key: StringId,
        /// The value.
        pub value: StringId,
    }

    /// A key and a value on the whole batch: host, kernel, plan.
    pub struct Attribute {
        /// The key.
        pub key: StringId,
        /// The value.
        pub value: StringId,
    }

    /// Samples that are missing from this batch, and why.
    pub struct Loss {
        /// The counter's name: `"samples_lost_ring_full"`, or [`EXCLUDED`].
        pub reason: StringId,
        /// The number in this interval.
        pub count: u64,
    }

    /// A value of a sample.
    pub struct Value {
        /// In the unit of its type; of all that the sample counts together.
        pub value: u64,
    }

    /// A string: a range of the string bytes.
    pub(crate) struct Text {
        /// First byte.
        pub(crate) offset: u32,
        /// Number of bytes.
        pub(crate) length: u32,
    }
}
