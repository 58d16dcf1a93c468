/* Two waits that libfaketime 0.9.10 gets wrong. librdkafka waits by cnd_timedwait, which it does not know: a second at a
   clock that is 400 days ahead lasts 400 days. Python sleeps until a moment of the monotonic clock, from which it takes
   400 days even where that clock is left alone. In glibc both kinds of condition and of mutex are the same. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

int cnd_timedwait(cnd_t *condition, mtx_t *mutex, const struct timespec *until)
{
    switch (pthread_cond_timedwait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex, until)) {
    case 0: return thrd_success;
    case ETIMEDOUT: return thrd_timedout;
    default: return thrd_error;
    }
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *until, struct timespec *left)
{
    int (*faked)(clockid_t, int, const struct timespec *, struct timespec *) = dlsym(RTLD_NEXT, "clock_nanosleep");
    if (clock == CLOCK_REALTIME)
        return faked(clock, flags, until, left);
    return syscall(SYS_clock_nanosleep, clock, flags, until, left) ? errno : 0;
}
