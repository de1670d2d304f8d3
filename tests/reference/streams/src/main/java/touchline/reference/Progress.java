package touchline.reference;

import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.concurrent.atomic.LongAdder;

/** What was done so far, printed as lines of JSON. */
final class Progress {
    final LongAdder records = new LongAdder();
    final LongAdder outputs = new LongAdder();
    private final long startedNs = System.nanoTime();

    /** Prints one line to stdout. */
    void print() {
        System.out.printf(
                Locale.ROOT,
                "{\"records\":%d,\"outputs\":%d,\"cpu_seconds\":%.2f,\"rss_bytes\":%d,\"elapsed_ms\":%d}%n",
                records.sum(), outputs.sum(), cpuSeconds(), rssBytes(), (System.nanoTime() - startedNs) / 1_000_000);
    }

    private static double cpuSeconds() {
        var system = (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        return system.getProcessCpuTime() / 1e9;
    }

    private static long rssBytes() {
        try {
            for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
                if (line.startsWith("VmRSS:")) {
                    return Long.parseLong(line.replaceAll("[^0-9]", "")) * 1024;
                }
            }
        } catch (IOException error) {
            // No such file on other systems: the figure is left out.
        }
        return 0;
    }
}
