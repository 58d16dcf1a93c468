/* librdkafka waits by cnd_timedwait, which libfaketime does not know: without this, a wait of a second at a clock that
   is 400 days ahead lasts 400 days. In glibc both kinds of condition and mutex are the same. */
#include <errno.h>
#include <pthread.h>
#include <threads.h>

int cnd_timedwait(cnd_t *condition, mtx_t *mutex, const struct timespec *until)
{
    switch (pthread_cond_timedwait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex, until)) {
    case 0: return thrd_success;
    case ETIMEDOUT: return thrd_timedout;
    default: return thrd_error;
    }
}
