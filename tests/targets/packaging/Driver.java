import MODEL;
import java.io.DataInputStream;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.util.Arrays;

/** Does what a test asks of a model's class and prints what comes out; MODEL is its name. */
public final class Driver {
    private static final int STEPS = 12;

    private interface Attempt {
        void run();
    }

    public static void main(String[] arguments) throws Exception {
        String what = arguments[0];
        if (what.equals("floats")) {
            floats(arguments[1]);
        } else if (what.equals("counts")) {
            counts(arguments[1]);
        } else if (what.equals("stream")) {
            stream(arguments[1]);
        } else if (what.equals("saves")) {
            saves(arguments[1]);
        } else if (what.equals("texts")) {
            texts();
        } else if (what.equals("instances")) {
            instances(arguments[1]);
        } else if (what.equals("refusals")) {
            refusals();
        } else if (what.equals("garbage")) {
            garbage(Integer.parseInt(arguments[1]));
        } else {
            threads(arguments[1]);
        }
    }

    /** Each window stepwise, with the decision and the scores after each step, then whole. */
    private static void floats(String file) throws IOException {
        CLASS model = new CLASS();
        for (float[] window : windows(file)) {
            model.reset();
            for (int step = 0; step < STEPS; step++) {
                int from = step * CLASS.INPUTS;
                model.step(Arrays.copyOfRange(window, from, from + CLASS.INPUTS));
                System.out.println(model.classify() + " " + Arrays.toString(model.scores()));
            }
            System.out.println(model.run(window) + " " + Arrays.toString(model.scores()));
        }
    }

    private static void counts(String file) throws IOException {
        CLASS model = new CLASS();
        for (float[] window : windows(file)) {
            short[] counts = new short[window.length];
            for (int i = 0; i < counts.length; i++) {
                counts[i] = (short) window[i];
            }
            model.reset();
            for (int step = 0; step < STEPS; step++) {
                int from = step * CLASS.INPUTS;
                model.step(Arrays.copyOfRange(counts, from, from + CLASS.INPUTS));
                System.out.println(model.classify() + " " + Arrays.toString(model.scores()));
            }
            System.out.println(model.run(counts) + " " + Arrays.toString(model.scores()));
        }
    }

    /** All windows as one stream of counts and, on another instance, of the same numbers as floats. */
    private static void stream(String file) throws IOException {
        CLASS floats = new CLASS();
        CLASS counts = new CLASS();
        System.out.println(floats.decision() + " " + Arrays.toString(floats.streamScores()));
        for (float[] window : windows(file)) {
            for (int from = 0; from < window.length; from += CLASS.INPUTS) {
                short[] count = new short[CLASS.INPUTS];
                for (int i = 0; i < count.length; i++) {
                    count[i] = (short) window[from + i];
                }
                boolean ready = floats.push(Arrays.copyOfRange(window, from, from + CLASS.INPUTS));
                if (counts.push(count) != ready) {
                    System.out.println("counts and floats differ");
                }
                if (ready) {
                    System.out.println(floats.decision() + " " + Arrays.toString(floats.streamScores()));
                    System.out.println(counts.decision() + " " + Arrays.toString(counts.streamScores()));
                }
                floats.run(window); // another state, which the stream does not see
            }
        }
        floats.reset();
        System.out.println(floats.decision() + " " + Arrays.toString(floats.streamScores()));
    }

    /** Every window, saved after half of it and gone on with by another instance; then refusals. */
    private static void saves(String file) throws IOException {
        CLASS first = new CLASS();
        CLASS second = new CLASS();
        byte[] saved = first.save();
        for (float[] window : windows(file)) {
            int half = STEPS / 2 * CLASS.INPUTS;
            first.run(Arrays.copyOfRange(window, 0, half));
            saved = first.save();
            first.run(window);
            second.restore(saved);
            for (int from = half; from < window.length; from += CLASS.INPUTS) {
                second.step(Arrays.copyOfRange(window, from, from + CLASS.INPUTS));
            }
            System.out.println(second.classify() + " " + Arrays.toString(second.scores()));
        }
        byte[] before = second.save();
        byte[] header = saved.clone();
        header[0] ^= 1;
        byte[] network = saved.clone();
        network[8] ^= 1;
        byte[] damaged = saved.clone();
        damaged[CLASS.SAVE_BYTES - 1] ^= 1;
        byte[] half = Arrays.copyOf(saved, CLASS.SAVE_BYTES - 1);
        for (byte[] bytes : new byte[][] {header, network, damaged, half, new byte[0], null}) {
            attempt(() -> second.restore(bytes));
        }
        System.out.println(Arrays.equals(before, second.save()));
    }

    private static void texts() throws IOException {
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        out.println(CLASS.version());
        out.println(CLASS.digest());
        for (String name : CLASS.classNames()) {
            out.println(name);
        }
        out.println(CLASS.className(CLASS.CLASSES - 1));
        attempt(() -> CLASS.className(-1));
        attempt(() -> CLASS.className(CLASS.CLASSES));
    }

    /** One instance for each window; they take turns sample by sample. */
    private static void instances(String file) throws IOException {
        float[][] windows = windows(file);
        CLASS[] models = new CLASS[windows.length];
        for (int i = 0; i < models.length; i++) {
            models[i] = new CLASS();
        }
        for (int step = 0; step < STEPS; step++) {
            for (int i = 0; i < models.length; i++) {
                int from = step * CLASS.INPUTS;
                models[i].step(Arrays.copyOfRange(windows[i], from, from + CLASS.INPUTS));
            }
        }
        for (CLASS model : models) {
            System.out.println(model.classify() + " " + Arrays.toString(model.scores()));
        }
    }

    private static void refusals() {
        CLASS model = new CLASS();
        attempt(() -> model.step(new float[CLASS.INPUTS + 1]));
        attempt(() -> model.step(new float[0]));
        attempt(() -> model.step(new short[CLASS.INPUTS - 1]));
        attempt(() -> model.run(new float[CLASS.INPUTS * STEPS + 1]));
        attempt(() -> model.run(new short[1]));
        attempt(() -> model.step((float[]) null));
        attempt(() -> model.step((short[]) null));
        attempt(() -> model.run((float[]) null));
        attempt(() -> model.run((short[]) null));
        attempt(() -> model.push(new float[CLASS.INPUTS + 1]));
        attempt(() -> model.push(new short[0]));
        attempt(() -> model.push((float[]) null));
        attempt(() -> model.push((short[]) null));
        System.out.println(model.run(new float[0]) + " " + Arrays.toString(model.scores()));
    }

    private static void attempt(Attempt attempt) {
        try {
            attempt.run();
            System.out.println("accepted");
        } catch (RuntimeException error) {
            System.out.println(error.getClass().getSimpleName() + ": " + error.getMessage());
        }
    }

    /** More instances than native memory has room for at once. */
    private static void garbage(int count) {
        CLASS kept = new CLASS();
        for (int i = 0; i < count; i++) {
            kept.step(new float[CLASS.INPUTS]);
            CLASS dropped = new CLASS();
            dropped.step(new float[CLASS.INPUTS]);
        }
        System.out.println(kept.classify());
    }

    /** Every window on an instance of its own thread, while all threads also share one. */
    private static void threads(String file) throws Exception {
        float[][] windows = windows(file);
        int[][] decisions = new int[windows.length][100];
        CLASS shared = new CLASS();
        Thread[] threads = new Thread[windows.length];
        for (int i = 0; i < threads.length; i++) {
            int own = i;
            threads[i] = new Thread(() -> {
                CLASS model = new CLASS();
                for (int round = 0; round < decisions[own].length; round++) {
                    decisions[own][round] = model.run(windows[own]);
                    if (shared.run(windows[own]) != decisions[own][round]) {
                        decisions[own][round] = -1;
                    }
                }
            });
            threads[i].start();
        }
        for (Thread thread : threads) {
            thread.join();
        }
        for (int[] own : decisions) {
            System.out.println(Arrays.stream(own).distinct().count() == 1 ? own[0] : -1);
        }
    }

    private static float[][] windows(String file) throws IOException {
        try (DataInputStream in = new DataInputStream(new FileInputStream(file))) {
            float[][] windows = new float[in.readInt()][STEPS * CLASS.INPUTS];
            for (float[] window : windows) {
                for (int i = 0; i < window.length; i++) {
                    window[i] = in.readFloat();
                }
            }
            return windows;
        }
    }
}
