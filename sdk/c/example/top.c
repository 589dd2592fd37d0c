/* An exporter in C: for each batch, a line for each process with its samples.
 *
 *   cc -shared -fPIC -fvisibility=hidden -O2 -I .. -o top.so top.c
 */
#include "stacksonde_batch.h"
#include "stacksonde_plugin.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const struct stacksonde_host *host;

static int32_t init(const struct stacksonde_host *of, struct stacksonde_error *error)
{
    (void)error;
    host = of;
    return 0;
}

/* The text of `path` in the instance's JSON. The host has checked that it is there and is text; this reader
 * takes what a path needs, and no escapes. Use a JSON library for more. */
static char *read_path(struct stacksonde_text config)
{
    static const char key[] = "\"path\":\"";
    char *json = calloc(config.len + 1, 1), *start, *end, *path = NULL;
    if (json == NULL)
        return NULL;
    memcpy(json, config.ptr, config.len);
    start = strstr(json, key);
    if (start != NULL && (end = strchr(start + strlen(key), '"')) != NULL) {
        *end = 0;
        path = strdup(start + strlen(key));
    }
    free(json);
    return path;
}

static int32_t create(struct stacksonde_text name, struct stacksonde_text config, void **instance,
                      struct stacksonde_error *error)
{
    char *path = read_path(config);
    FILE *file;
    if (path == NULL)
        return stacksonde_fail(error, STACKSONDE_PERMANENT, "`path` is missing: the file to write to");
    file = fopen(path, "ae");
    free(path);
    if (file == NULL)
        return stacksonde_fail(error, STACKSONDE_PERMANENT, strerror(errno));
    if (host->enabled(STACKSONDE_DEBUG)) {
        struct stacksonde_text message = {"ready", 5};
        host->event(STACKSONDE_DEBUG, name, message);
    }
    *instance = file;
    return 0;
}

static int32_t export_batch(void *instance, struct stacksonde_bytes batch, struct stacksonde_error *error)
{
    struct stacksonde_table samples = stacksonde_table(batch.ptr, STACKSONDE_SAMPLES);
    struct stacksonde_table threads = stacksonde_table(batch.ptr, STACKSONDE_THREADS);
    struct stacksonde_table processes = stacksonde_table(batch.ptr, STACKSONDE_PROCESSES);
    uint64_t *counts = calloc((size_t)processes.count + 1, sizeof *counts);
    uint32_t i;
    if (counts == NULL)
        return stacksonde_fail(error, STACKSONDE_RETRYABLE, "out of memory");
    for (i = 0; i < samples.count; i++) {
        const uint8_t *sample = stacksonde_row(samples, i);
        const uint8_t *thread = stacksonde_row(threads, stacksonde_u32(sample + STACKSONDE_SAMPLE_THREAD));
        counts[stacksonde_u32(thread + STACKSONDE_THREAD_PROCESS)] +=
            stacksonde_u64(sample + STACKSONDE_SAMPLE_COUNT);
    }
    for (i = 0; i < processes.count; i++) {
        const uint8_t *process = stacksonde_row(processes, i);
        uint32_t len, comm = stacksonde_u32(process + STACKSONDE_PROCESS_COMM);
        const char *name = stacksonde_string(batch.ptr, comm, &len);
        fprintf(instance, "%llu %u %.*s\n", (unsigned long long)counts[i],
                stacksonde_u32(process + STACKSONDE_PROCESS_PID), (int)len, name);
    }
    free(counts);
    if (fflush(instance) != 0)
        return stacksonde_fail(error, STACKSONDE_RETRYABLE, strerror(errno));
    return 0;
}

static void destroy(void *instance)
{
    fclose(instance);
}

static const struct stacksonde_exporter exporter = {
    .size = sizeof exporter,
    .init = init,
    .create = create,
    .export_batch = export_batch,
    .destroy = destroy,
};

STACKSONDE_EXPORTER("plugin.json", "0.1.0", &exporter);
