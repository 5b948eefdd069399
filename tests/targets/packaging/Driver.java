import MODEL;
import java.io.DataInputStream;
import java.io.FileInputStream;
import java.io.IOException;
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
