/* SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * Reading a batch in C. The bytes are those that every exporter gets: format 1, described in sdk/batch/src/lib.rs.
 *
 * The host has written the batch, so its tables lie where it says. A batch from elsewhere (a file) is to be
 * checked first: `stacksonde batch FILE` does.
 *
 * A table may have columns that this header does not know: rows are `stride` bytes apart. A table that is
 * absent has no rows. Values are read through memcpy, since not every row is aligned.
 */
#ifndef STACKSONDE_BATCH_H
#define STACKSONDE_BATCH_H

#include <stdint.h>
#include <string.h>

/* Offsets of fields in the front. */
#define STACKSONDE_SEQUENCE 56u
#define STACKSONDE_START_NS 64u /* CLOCK_MONOTONIC */
#define STACKSONDE_END_NS 72u
#define STACKSONDE_UNIX_MINUS_MONOTONIC_NS 80u

/* Tables, and offsets of their columns: u32 unless it says otherwise. Texts are rows of the strings. */
#define STACKSONDE_VALUE_TYPES 1u
#define STACKSONDE_VALUE_TYPE_KIND 0u
#define STACKSONDE_VALUE_TYPE_UNIT 4u
#define STACKSONDE_VALUE_TYPE_PER_SAMPLE 8u /* u64 */

#define STACKSONDE_SAMPLES 2u
#define STACKSONDE_SAMPLE_THREAD 0u
#define STACKSONDE_SAMPLE_STACK 4u
#define STACKSONDE_SAMPLE_COUNT 8u /* u64 */
#define STACKSONDE_SAMPLE_TIMESTAMPS_START 16u
#define STACKSONDE_SAMPLE_TIMESTAMPS_COUNT 20u
/* Appended: a batch has them if its stride reaches so far. A value for each value type, or none. */
#define STACKSONDE_SAMPLE_VALUES_START 24u
#define STACKSONDE_SAMPLE_VALUES_COUNT 28u

#define STACKSONDE_TIMESTAMPS 3u
#define STACKSONDE_TIMESTAMP_TIME_NS 0u /* u64 */
/* Likewise: what the sample stands for, in the unit of the last value type; 0: as much as that says. */
#define STACKSONDE_TIMESTAMP_VALUE 8u /* u64 */

#define STACKSONDE_STACKS 4u /* frames are leaf first, kernel before user */
#define STACKSONDE_STACK_FRAMES_START 0u
#define STACKSONDE_STACK_FRAMES_COUNT 4u
#define STACKSONDE_STACK_KERNEL_FRAMES 8u
#define STACKSONDE_STACK_OUTCOME 12u
#define STACKSONDE_STACK_COMPLETE 16u

#define STACKSONDE_FRAMES 5u
#define STACKSONDE_FRAME_LOCATION 0u

#define STACKSONDE_LOCATIONS 6u
#define STACKSONDE_LOCATION_KIND 0u
#define STACKSONDE_LOCATION_MAPPING 4u /* or STACKSONDE_NONE */
#define STACKSONDE_LOCATION_ADDRESS 8u /* u64 */
#define STACKSONDE_LOCATION_LINES_START 16u
#define STACKSONDE_LOCATION_LINES_COUNT 20u

#define STACKSONDE_LINES 7u
#define STACKSONDE_LINE_FUNCTION 0u
#define STACKSONDE_LINE_LINE 4u
#define STACKSONDE_LINE_COLUMN 8u

#define STACKSONDE_FUNCTIONS 8u
#define STACKSONDE_FUNCTION_NAME 0u
#define STACKSONDE_FUNCTION_SYSTEM_NAME 4u
#define STACKSONDE_FUNCTION_FILE 8u
#define STACKSONDE_FUNCTION_START_LINE 12u

#define STACKSONDE_MAPPINGS 9u
#define STACKSONDE_MAPPING_KIND 0u
#define STACKSONDE_MAPPING_PATH 4u
#define STACKSONDE_MAPPING_BUILD_ID 8u
#define STACKSONDE_MAPPING_START 12u       /* u64 */
#define STACKSONDE_MAPPING_LIMIT 20u       /* u64 */
#define STACKSONDE_MAPPING_FILE_OFFSET 28u /* u64 */
#define STACKSONDE_MAPPING_HTLHASH 36u     /* only where the stride says so */

#define STACKSONDE_PROCESSES 10u
#define STACKSONDE_PROCESS_PID 0u
#define STACKSONDE_PROCESS_PARENT_PID 4u
#define STACKSONDE_PROCESS_COMM 8u
#define STACKSONDE_PROCESS_EXECUTABLE 12u
#define STACKSONDE_PROCESS_CGROUP 16u
#define STACKSONDE_PROCESS_LABELS_START 20u
#define STACKSONDE_PROCESS_LABELS_COUNT 24u

#define STACKSONDE_THREADS 11u
#define STACKSONDE_THREAD_PROCESS 0u
#define STACKSONDE_THREAD_TID 4u
#define STACKSONDE_THREAD_COMM 8u

#define STACKSONDE_LABELS 12u
#define STACKSONDE_LABEL_KEY 0u
#define STACKSONDE_LABEL_VALUE 4u

#define STACKSONDE_ATTRIBUTES 13u
#define STACKSONDE_ATTRIBUTE_KEY 0u
#define STACKSONDE_ATTRIBUTE_VALUE 4u

#define STACKSONDE_LOSSES 14u
#define STACKSONDE_LOSS_REASON 0u
#define STACKSONDE_LOSS_COUNT 4u /* u64 */
/* The reason of samples that were not wanted; all others were, and are missing. */
#define STACKSONDE_EXCLUDED "samples_excluded"

#define STACKSONDE_VALUES 17u
#define STACKSONDE_VALUE_VALUE 0u /* u64 */

#define STACKSONDE_NONE UINT32_MAX

/* Rows of a table. */
struct stacksonde_table {
    const uint8_t *rows;
    uint32_t count;
    uint32_t stride;
};

static inline uint32_t stacksonde_u32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline uint64_t stacksonde_u64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* The table of this number. */
static inline struct stacksonde_table stacksonde_table(const uint8_t *batch, uint32_t number)
{
    const uint8_t *entry = batch + stacksonde_u64(batch + 88);
    uint32_t count = stacksonde_u32(batch + 96), stride = stacksonde_u32(batch + 100);
    struct stacksonde_table table = {0, 0, 0};
    for (; count > 0; count--, entry += stride) {
        if (stacksonde_u32(entry) == number) {
            table.stride = stacksonde_u32(entry + 4);
            table.count = stacksonde_u32(entry + 8);
            table.rows = batch + stacksonde_u64(entry + 16);
        }
    }
    return table;
}

/* A row of a table; it must be below `count`. */
static inline const uint8_t *stacksonde_row(struct stacksonde_table table, uint32_t row)
{
    return table.rows + (uint64_t)row * table.stride;
}

/* The text of this number: not ended by a NUL, `*len` bytes long. */
static inline const char *stacksonde_string(const uint8_t *batch, uint32_t number, uint32_t *len)
{
    struct stacksonde_table strings = stacksonde_table(batch, 15), bytes = stacksonde_table(batch, 16);
    const uint8_t *row;
    *len = 0;
    if (number >= strings.count)
        return "";
    row = stacksonde_row(strings, number);
    *len = stacksonde_u32(row + 4);
    return (const char *)bytes.rows + stacksonde_u32(row);
}

#endif
