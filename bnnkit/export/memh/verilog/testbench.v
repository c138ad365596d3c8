// Plays the golden vectors of one layer on its arrays and compares everything they give; parameters.vh says which layer.
//
//     iverilog -g2005 -I layers/NAME -s testbench -o play.vvp cim_array.v testbench.v && vvp -n play.vvp
//
// ends with "PASS layer NAME: ..." or "FAIL layer NAME: ...".
`default_nettype none

module testbench;
`include "parameters.vh"

    // A gated layer converts its high plane, then its low plane; others all planes at once.
    localparam CONVERSIONS = GATED ? 2 : 1, PLANES_READ = GATED ? 1 : X_PLANES;
    localparam READS = VECTORS * CONVERSIONS * ARRAYS, MOST_SHOWN = 10;

    reg [X_PLANES*ROWS-1:0] golden_inputs[0:VECTORS*ARRAYS-1];
    reg [ROWS-1:0] golden_enables[0:VECTORS*ARRAYS-1];
    reg [OUTPUTS*SUM_BITS-1:0] golden_sums[0:READS-1];
    reg [OUTPUTS*CODE_BITS-1:0] golden_codes[0:READS-1];
    reg [OUTPUTS*TOTAL_BITS-1:0] golden_totals[0:VECTORS-1];
    reg [OUTPUTS*4-1:0] golden_opens[0:VECTORS-1];
    reg [OUTPUTS*4-1:0] golden_outputs[0:VECTORS-1];

    reg clock, read, clear, add;
    reg [15:0] select;
    reg [PLANES_READ*ROWS-1:0] inputs;
    reg [ROWS-1:0] enable;
    wire [OUTPUTS*SUM_BITS-1:0] sums;
    wire [OUTPUTS*CODE_BITS-1:0] codes;
    wire [OUTPUTS*TOTAL_BITS-1:0] totals, gated_totals, results;
    wire [OUTPUTS*4-1:0] opens, outputs;
    reg [OUTPUTS*TOTAL_BITS-1:0] high;

    cim_layer #(
        .ARRAYS(ARRAYS), .ROWS(ROWS), .OUTPUTS(OUTPUTS), .X_PLANES(PLANES_READ), .W_PLANES(W_PLANES),
        .X_THERMOMETER(X_THERMOMETER), .W_THERMOMETER(W_THERMOMETER), .SUM_BITS(SUM_BITS),
        .THRESHOLDS(THRESHOLDS), .CODE_BITS(CODE_BITS), .TOTAL_BITS(TOTAL_BITS), .FOLDER(FOLDER)
    ) layer (
        .clock(clock), .select(select), .read(read), .clear(clear), .add(add), .inputs(inputs), .enable(enable),
        .sums(sums), .codes(codes), .totals(totals)
    );

    generate
        if (GATED) begin : with_gates
            cim_gate #(.OUTPUTS(OUTPUTS), .TOTAL_BITS(TOTAL_BITS), .FILE({FOLDER, "/gate.memh"})) gate (
                .high(high), .low(totals), .opens(opens), .totals(gated_totals)
            );
            assign results = gated_totals;
        end else begin : without_gates
            assign results = totals;
        end
        if (FOLDS) begin : folded
            cim_fold #(
                .OUTPUTS(OUTPUTS), .TOTAL_BITS(TOTAL_BITS), .THRESHOLDS(FOLDS),
                .FILE({FOLDER, "/sum_thresholds.memh"}), .FLIP_FILE({FOLDER, "/flip.memh"})
            ) fold (
                .totals(results), .codes(outputs)
            );
        end
    endgenerate

    integer v, conversion, at, o, compared, mismatches;

    // Bits that are unknown are never right, whatever was expected.
    task compare(input [8*8-1:0] what, input integer index, input [63:0] found, input [63:0] expected);
        begin
            compared = compared + 1;
            if (found !== expected || ^found === 1'bx) begin
                mismatches = mismatches + 1;
                if (mismatches <= MOST_SHOWN)
                    $display("  %0s of output %0d: %0h, expected %0h (vector %0d, conversion %0d, array %0d)",
                             what, index, found, expected, v, conversion, select);
            end
        end
    endtask

    task tick;
        begin
            #1 clock = 1;
            #1 clock = 0;
        end
    endtask

    task read_and_add;
        begin
            read = 1;
            tick;
            read = 0;
            for (o = 0; o < OUTPUTS; o = o + 1) begin
                compare("sum", o, sums[o*SUM_BITS+:SUM_BITS], golden_sums[at][o*SUM_BITS+:SUM_BITS]);
                if (THRESHOLDS)
                    compare("code", o, codes[o*CODE_BITS+:CODE_BITS], golden_codes[at][o*CODE_BITS+:CODE_BITS]);
            end
            add = 1;
            tick;
            add = 0;
        end
    endtask

    task compare_results;
        for (o = 0; o < OUTPUTS; o = o + 1) begin
            compare("total", o, results[o*TOTAL_BITS+:TOTAL_BITS], golden_totals[v][o*TOTAL_BITS+:TOTAL_BITS]);
            if (GATED) compare("gate", o, opens[o*4+:4], golden_opens[v][o*4+:4]);
            if (FOLDS) compare("output", o, outputs[o*4+:4], golden_outputs[v][o*4+:4]);
        end
    endtask

    initial begin
        $readmemh({FOLDER, "/inputs.memh"}, golden_inputs);
        $readmemh({FOLDER, "/enables.memh"}, golden_enables);
        $readmemh({FOLDER, "/sums.memh"}, golden_sums);
        $readmemh({FOLDER, "/totals.memh"}, golden_totals);
        if (THRESHOLDS) $readmemh({FOLDER, "/codes.memh"}, golden_codes);
        if (GATED) $readmemh({FOLDER, "/opens.memh"}, golden_opens);
        if (FOLDS) $readmemh({FOLDER, "/outputs.memh"}, golden_outputs);
        {clock, read, clear, add, compared, mismatches} = 0;
        for (v = 0; v < VECTORS; v = v + 1) begin
            for (conversion = 0; conversion < CONVERSIONS; conversion = conversion + 1) begin
                high = totals;  // of the first conversion, when the second begins
                clear = 1;
                tick;
                clear = 0;
                for (select = 0; select < ARRAYS; select = select + 1) begin
                    at = (v * CONVERSIONS + conversion) * ARRAYS + select;
                    inputs = golden_inputs[v*ARRAYS+select] >> (GATED && conversion == 0 ? ROWS : 0);
                    enable = golden_enables[v*ARRAYS+select];
                    read_and_add;
                end
            end
            #1 compare_results;
        end
        $display("%0s layer %0s: %0d vectors, %0d arrays, %0d of %0d values equal",
                 mismatches == 0 && compared > 0 ? "PASS" : "FAIL", LAYER, VECTORS, ARRAYS, compared - mismatches, compared);
        $finish;
    end
endmodule

`default_nettype wire
