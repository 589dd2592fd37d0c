import java.util.List;

/** Spends its time in main -> outer -> (the library's code) -> middle -> inner, until it is killed.
 * It says "ready" after the first round, by which time the virtual machine has started. */
class Chain {
    static int inner(int turns) {
        int total = 0;
        for (int i = 0; i < turns; i++) {
            total = (total + i * i) % 1000003;
        }
        return total;
    }

    static int middle(int turns) {
        return inner(turns) + 1;
    }

    static int outer() {
        return List.of(1000000).stream().map(Chain::middle).findFirst().get();
    }

    public static void main(String[] arguments) {
        outer();
        System.out.println("ready");
        for (;;) {
            outer();
        }
    }
}
