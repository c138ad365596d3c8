// Compute-in-memory arrays of binary cells, their converters, and the digital logic that adds up what they give.
//
// A bit 1 is +1, a bit 0 is -1; a word line that is not enabled contributes 0. Words hold fields of whole hexadecimal digits:
// field 0 is the least significant one. See README.md for the files.
`default_nettype none

// One array. At a read, every output's partial sum over the enabled word lines of
//     (sum over planes p of weight(p) * input bit p) * (sum over planes q of weight(q) * cell bit q)
// where a plane weighs 2^plane, or 1 in a thermometer. The products of all planes are summed before any conversion.
module cim_array #(
    parameter ROWS = 128,         // word lines
    parameter OUTPUTS = 16,
    parameter X_PLANES = 1,       // of input bits
    parameter W_PLANES = 1,       // of cells: bit lines of one output
    parameter X_THERMOMETER = 0,
    parameter W_THERMOMETER = 0,
    parameter SUM_BITS = 12,
    parameter WEIGHTS = "array.memh"  // a line per bit line (output * W_PLANES + plane), bit r is word line r
) (
    input wire clock,
    input wire read,
    input wire [X_PLANES*ROWS-1:0] inputs,
    input wire [ROWS-1:0] enable,
    output reg [OUTPUTS*SUM_BITS-1:0] sums
);
    reg [ROWS-1:0] cells[0:OUTPUTS*W_PLANES-1];
    initial $readmemh(WEIGHTS, cells);

    // Bits that are set: bytes hold their own number after three additions, and are added (a simulator takes a quarter of the
    // time of adding bit by bit).
    localparam BYTES = (ROWS + 7) / 8;
    function [SUM_BITS-1:0] ones(input [8*BYTES-1:0] bits);
        integer i;
        begin
            bits = (bits & {BYTES{8'h55}}) + (bits >> 1 & {BYTES{8'h55}});
            bits = (bits & {BYTES{8'h33}}) + (bits >> 2 & {BYTES{8'h33}});
            bits = (bits & {BYTES{8'h0f}}) + (bits >> 4 & {BYTES{8'h0f}});
            ones = 0;
            for (i = 0; i < BYTES; i = i + 1) ones = ones + bits[8*i+:8];
        end
    endfunction

    // Equal bits multiply to +1, different ones to -1.
    reg [SUM_BITS-1:0] enabled, equal, sum;
    integer output_index, p, q;
    always @(posedge clock)
        if (read) begin
            enabled = ones(enable);
            for (output_index = 0; output_index < OUTPUTS; output_index = output_index + 1) begin
                sum = 0;
                for (p = 0; p < X_PLANES; p = p + 1)
                    for (q = 0; q < W_PLANES; q = q + 1) begin
                        equal = ones(~(inputs[p*ROWS+:ROWS] ^ cells[output_index*W_PLANES+q]) & enable);
                        sum = sum + ((2 * equal - enabled) << ((X_THERMOMETER ? 0 : p) + (W_THERMOMETER ? 0 : q)));
                    end
                sums[output_index*SUM_BITS+:SUM_BITS] <= sum;
            end
        end
endmodule

// A converter per output: the code is the number of thresholds that the partial sum reaches.
module cim_converter #(
    parameter OUTPUTS = 16,
    parameter SUM_BITS = 12,
    parameter THRESHOLDS = 1,
    parameter CODE_BITS = 4,
    parameter FILE = "adc_thresholds.memh"  // ascending
) (
    input wire [OUTPUTS*SUM_BITS-1:0] sums,
    output reg [OUTPUTS*CODE_BITS-1:0] codes
);
    reg signed [SUM_BITS-1:0] thresholds[0:THRESHOLDS-1];
    initial $readmemh(FILE, thresholds);

    reg [CODE_BITS-1:0] code;
    integer o, t;
    always @*
        for (o = 0; o < OUTPUTS; o = o + 1) begin
            code = 0;
            for (t = 0; t < THRESHOLDS; t = t + 1)
                code = code + ($signed(sums[o*SUM_BITS+:SUM_BITS]) >= thresholds[t]);
            codes[o*CODE_BITS+:CODE_BITS] = code;
        end
endmodule

// Adds the levels of codes, one array per clock. Without levels (LEVELS = 0) codes are partial sums and are added themselves.
module cim_accumulator #(
    parameter OUTPUTS = 16,
    parameter CODE_BITS = 4,
    parameter LEVELS = 2,
    parameter TOTAL_BITS = 16,
    parameter FILE = "adc_levels.memh"
) (
    input wire clock,
    input wire clear,
    input wire add,
    input wire [OUTPUTS*CODE_BITS-1:0] codes,
    output reg [OUTPUTS*TOTAL_BITS-1:0] totals
);
    reg signed [TOTAL_BITS-1:0] levels[0:(LEVELS ? LEVELS : 1)-1];
    initial if (LEVELS) $readmemh(FILE, levels);

    reg signed [TOTAL_BITS-1:0] level;
    integer o;
    always @(posedge clock)
        if (clear) totals <= 0;
        else if (add)
            for (o = 0; o < OUTPUTS; o = o + 1) begin
                if (LEVELS) level = levels[codes[o*CODE_BITS+:CODE_BITS]];
                else level = $signed(codes[o*CODE_BITS+:CODE_BITS]);
                totals[o*TOTAL_BITS+:TOTAL_BITS] <= totals[o*TOTAL_BITS+:TOTAL_BITS] + level;
            end
endmodule

// Precision gates: the total of the high bits decides whether that of the low bits is added: 2 * high + (open ? low : 0).
module cim_gate #(
    parameter OUTPUTS = 16,
    parameter TOTAL_BITS = 16,
    parameter FILE = "gate.memh"  // a threshold per output: open where high >= threshold
) (
    input wire [OUTPUTS*TOTAL_BITS-1:0] high,
    input wire [OUTPUTS*TOTAL_BITS-1:0] low,
    output reg [OUTPUTS*4-1:0] opens,  // 4 bits per output, to be read as digits
    output reg [OUTPUTS*TOTAL_BITS-1:0] totals
);
    reg signed [TOTAL_BITS-1:0] thresholds[0:OUTPUTS-1];
    initial $readmemh(FILE, thresholds);

    reg signed [TOTAL_BITS-1:0] sum;
    reg open;
    integer o;
    always @*
        for (o = 0; o < OUTPUTS; o = o + 1) begin
            sum = high[o*TOTAL_BITS+:TOTAL_BITS];
            open = sum >= thresholds[o];
            opens[o*4+:4] = open;
            totals[o*TOTAL_BITS+:TOTAL_BITS] = (sum <<< 1) + (low[o*TOTAL_BITS+:TOTAL_BITS] & {TOTAL_BITS{open}});
        end
endmodule

// Normalization, clipping and quantization as thresholds: the code is the number of thresholds that the total reaches, or
// minus the total where flip is set.
module cim_fold #(
    parameter OUTPUTS = 16,
    parameter TOTAL_BITS = 16,
    parameter THRESHOLDS = 1,
    parameter FILE = "sum_thresholds.memh",  // threshold t of output o is word t * OUTPUTS + o
    parameter FLIP_FILE = "flip.memh"
) (
    input wire [OUTPUTS*TOTAL_BITS-1:0] totals,
    output reg [OUTPUTS*4-1:0] codes
);
    reg signed [TOTAL_BITS-1:0] thresholds[0:OUTPUTS*THRESHOLDS-1];
    reg [3:0] flip[0:OUTPUTS-1];
    initial begin
        $readmemh(FILE, thresholds);
        $readmemh(FLIP_FILE, flip);
    end

    reg signed [TOTAL_BITS-1:0] directed;
    reg [3:0] code;
    integer o, t;
    always @*
        for (o = 0; o < OUTPUTS; o = o + 1) begin
            directed = totals[o*TOTAL_BITS+:TOTAL_BITS];
            directed = (directed ^ {TOTAL_BITS{flip[o][0]}}) + flip[o][0];
            code = 0;
            for (t = 0; t < THRESHOLDS; t = t + 1) code = code + (directed >= thresholds[t*OUTPUTS+o]);
            codes[o*4+:4] = code;
        end
endmodule

// The arrays of a layer, read one after the other, with one row of converters and one accumulator for all of them.
module cim_layer #(
    parameter ARRAYS = 1,
    parameter ROWS = 128,
    parameter OUTPUTS = 16,
    parameter X_PLANES = 1,
    parameter W_PLANES = 1,
    parameter X_THERMOMETER = 0,
    parameter W_THERMOMETER = 0,
    parameter SUM_BITS = 12,
    parameter THRESHOLDS = 1,  // of the converters; 0: there are none, and codes are partial sums
    parameter CODE_BITS = 4,
    parameter TOTAL_BITS = 16,
    parameter FOLDER = "."
) (
    input wire clock,
    input wire [15:0] select,  // which array is read and added
    input wire read,
    input wire clear,
    input wire add,
    input wire [X_PLANES*ROWS-1:0] inputs,
    input wire [ROWS-1:0] enable,
    output wire [OUTPUTS*SUM_BITS-1:0] sums,
    output wire [OUTPUTS*CODE_BITS-1:0] codes,
    output wire [OUTPUTS*TOTAL_BITS-1:0] totals
);
    wire [OUTPUTS*SUM_BITS-1:0] sums_of[0:ARRAYS-1];
    assign sums = sums_of[select];

    genvar s;
    generate
        for (s = 0; s < ARRAYS; s = s + 1) begin : each
            localparam [7:0] THOUSANDS = "0" + s / 1000 % 10, HUNDREDS = "0" + s / 100 % 10;
            localparam [7:0] TENS = "0" + s / 10 % 10, UNITS = "0" + s % 10;
            cim_array #(
                .ROWS(ROWS), .OUTPUTS(OUTPUTS), .X_PLANES(X_PLANES), .W_PLANES(W_PLANES),
                .X_THERMOMETER(X_THERMOMETER), .W_THERMOMETER(W_THERMOMETER), .SUM_BITS(SUM_BITS),
                .WEIGHTS({FOLDER, "/array_", THOUSANDS, HUNDREDS, TENS, UNITS, ".memh"})
            ) array (
                .clock(clock), .read(read && select == s), .inputs(inputs), .enable(enable), .sums(sums_of[s])
            );
        end
        if (THRESHOLDS == 0) begin : exact
            assign codes = sums;
        end else begin : converted
            cim_converter #(
                .OUTPUTS(OUTPUTS), .SUM_BITS(SUM_BITS), .THRESHOLDS(THRESHOLDS), .CODE_BITS(CODE_BITS),
                .FILE({FOLDER, "/adc_thresholds.memh"})
            ) converter (
                .sums(sums), .codes(codes)
            );
        end
    endgenerate

    cim_accumulator #(
        .OUTPUTS(OUTPUTS), .CODE_BITS(CODE_BITS), .LEVELS(THRESHOLDS == 0 ? 0 : THRESHOLDS + 1),
        .TOTAL_BITS(TOTAL_BITS), .FILE({FOLDER, "/adc_levels.memh"})
    ) accumulator (
        .clock(clock), .clear(clear), .add(add), .codes(codes), .totals(totals)
    );
endmodule

`default_nettype wire
