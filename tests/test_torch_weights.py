"""PyTorch's files read without PyTorch, and what else a pickle may hold refused."""

import base64
import io
import os
import pickle
import zipfile
import zlib

import numpy as np
import pytest

from jaxgan.networks.torch_weights import read_torch_weights

# `torch.save` of a state dict by PyTorch 2.13.0, compressed by zlib and written in base85; NEW in the format of 1.6 and
# later, OLD with `_use_new_zipfile_serialization=False`. Recorded 2026-11-26.
NEW = (
    r"c-o~_&u`mQ9Dn(pd8NM?v@1{;<44N6G|sQ4Tf1bYn1KiDjF7AeDRL7xws7No?Uz<Vnp6o|;I?tw1##twIKTlR#D6deRUD8I;xKXIio}KY?8NhP"
    r"NVBakajZD+^W%N}zMptQip3F1r_sQeMAJyM8@jQhEj3lFW;-96qA-qbFk>&;XjrDHHLzi|9qyXl)NHM}ZZt3lXhDWZMoAK~UCn6e7@`eq5z1`6"
    r"iw)D^>bADoHOyumYi-A}>pOW4VwsGRA_#}fR9hOvJqRb7mWto=E^?4iB4kbul1hx68=Wqsq$Gy)bqPsPDRuxSq?i;r0Pb_0x;TkpOok^Ej!ee3"
    r"+IBjYqcve%Cu(|JPv}YA#ZORtOo|@Bq!ghvQyzXA!;><ca>Z<G7oG|OpT16Dv3;14BKt7wflgzXli?YK)EDWhxdqR9sNRCEkW2o0o^#j3!#tsj"
    r"VtC$N$3DD3>CSj`FJd?=!%NBuGO?rD>b8b88(tn#QGW&puQ0OfR(I3XeBoDJ;XGuBa0J5w6^_u#z2=?HdE$#0&dZSf%>A<TDdc3}l>{xl)oo+Q"
    r"GZI&=cFPwixB>+zdIBXPu(05fmN6{LP;q&*?GC;PEB(5<pdwr#AcWx}b%p5tSoLn}nn!R6Lsf>FTj4EJZNX*6hhSNz??Z4YOYpi^;q_jH-=Gy1"
    r"J-RnBT#@0e?k#xRt#X|dP^DWRB=`5L3hfJc=N7!{ZqXghcF3-WYf{8<oXzZpluG}8_(Oh-Y!iBH4DGEMwB+|zcFVH2Rb20}iNd*1iyb+5D*D~u"
    r"zkN(sM~~s6b7=X2Xs^BMs%f;^+gcloLg7(#`=eZ>2CBR8SCmLZk2Elas=k5En^?1GSct;K$I<N%)4<r&sE7TvKTp%BNgnB899?2kZ7C-T7mi`T"
    r"W8JHgj~aQCV~-qP)u^MH+xPFxk{@PAI9g;K@uHA<Xh*1mexh2Re68H3Z4e)!Rb#dCqOf|L^7q#NPnCN3<L;RWDw-bQVU_hz5QWNPdr0+Iseb41"
    r"zQyXJhtV${NB^jGo?>-MqA)q26LFpYc=l&ybpK4C%RZx@7Hh}4eK!gm)xY;;>;2LC^C<ryK-?ucnr)B-`ADVz{&k}%3fV`r!{^JDQhB+sQeG(+"
    r"$tz#x`5a#<7y0sXkuQ-8D<z)i3)E%q&fRY^#7D+;8KGu<pTXRn9B>|fjtQfK0XoAVKZv1WNgXB$hTt4SaxX|Ski21@V318QJaQZj251-_Or3EC"
    r"ei%og><eRqDZ*m)L<q}=vBB<VvA=||`7k!vxh$4GJ+f)h$NqnB2gk2rY%#1G>^l})ONFqdFgDmT6Abo?0Cvb;32x<i20WccBbsbON+uWkEg3uS"
    r"BgaDLf4wrH@6-K=OuA|L?Md&u_q32mdYCbHzBl(jX`Qzb"
)
OLD = (
    r"c-noF$#T;`5QeqIA%cXk6V|ZXEC$<hBC{og5CY07F1k=EMV?rq6pdRNB^9b%<x4`~88~p{F?b!`0IE39k{p9TFr}rYHS_(yx_i392ig1aaqj#0"
    r"o6jp_<*u;!Rm5ipxS}!2aa=o~jM~&QH%Sn>)CV3H7{mC*a~bo9N&Kd3`5^2WG6vapo0y^dmV_X7Kq?vo7z`a6Fc{DTL&TZuGbm`1A;k>pw_s3{"
    r"q6jr@l<|noP$iU?gC+?`bJn$)3|vVEzGxJ1#};v04g<kvG_akr88O!jWiudak?S>0M*NTl=4Mp}u~;+)V|83<wFpS*7J1I27JHQjWf(9<a80Au"
    r"P#Y6UMV(ZXS``Y3QM(<Xx55&G1FIUR37WVILz<}ZyCA=JVowJd9MWMp{qw-`!!`{`6Gj}=b|fd4eb`BvqcKy|gk3nI@iF>n$~?y4xDF>02LauJ"
    r"lmCOA>cLL0B1+tWF^%7WGb!jSgL68ZPx9<o-a1@JNxd}8W2m2ni@)IYdL3U%Wdg<#E+G6;^7lJ%Ifh?J;a3@4)8V=?6t{>KSQ~_q0B-!FD*Y8Q"
    r"6f-7fX|(2%zKv4GM!l*w6a{Xg4IXXWif!<5_HU=JJE@g2gS$H1+e;>ucTm-#mb9HsBWyJ#Be;MK*O#kj<!aSRRfUP3+$74CN~wg(prOP4gi1Er"
    r"Y#Sc@U6ll()Y0)nL~w|B6g%eP+CEO(W-7%^GkBuIOj4P3&uYQbjK>*Dy}rlUKLu1pg=f9W%=IesJg&@q3V*@ir4CxufrX?xCMMo$TFipQ<ol9="
    r"K@OHXu#y~){d2vl@nIOQ;W>OApZ%PE;Pa{@<mFJz%ZiluC;7*Zlm)IgRPGDU{XV`;?av3f?AYJKbA?R2JB5#FyzuVg{b~9qX{tWq"
)


@pytest.fixture(params=["new", "old"])
def file(request, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(zlib.decompress(base64.b85decode(NEW if request.param == "new" else OLD)))
    return path


def test_every_kind_of_tensor(file):
    grid = np.arange(6, dtype=np.float32).reshape(2, 3)
    expected = {
        "weight": grid,
        "transposed": grid.T,  # the same storage
        "row": grid[1],
        "half": np.array([0.5, -2.0], np.float16),
        "parameter": np.array([[1.5]]),
        "count": np.array(7),
        "empty": np.zeros((0, 3), np.float32),
        "flag": np.array([True, False]),
    }
    for given in (io.BytesIO(file.read_bytes()), file):
        tensors = read_torch_weights(given)
        assert list(tensors) == list(expected)
        for name, array in expected.items():
            assert tensors[name].dtype == array.dtype
            np.testing.assert_array_equal(tensors[name], array, strict=True)
    tensors["weight"][0, 0] = 9.0  # a copy of its own
    assert tensors["transposed"][0, 0] == 0.0


def test_a_cut_file_is_refused(file):
    content = file.read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 8):
        file.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"weights.pth cannot be read as PyTorch weights: ."):
            read_torch_weights(file)


class Command:
    """What a hostile file holds."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder / "made"),)


@pytest.mark.parametrize("archive", [False, True])
def test_code_in_a_file_is_not_run(archive, tmp_path):
    file = tmp_path / "hostile.pth"
    content = pickle.dumps({"weight": Command(tmp_path)}, protocol=2)
    if archive:
        with zipfile.ZipFile(file, "w") as zipped:
            zipped.writestr("hostile/data.pkl", content)
    else:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=r"it asks for (posix|nt)\.mkdir, but only tensors are read"):
        read_torch_weights(file)
    assert not (tmp_path / "made").exists()


def test_a_tensor_may_not_exceed_its_storage(tmp_path):
    file = tmp_path / "long.pth"
    with zipfile.ZipFile(file, "w") as zipped:
        for name, content in archive_of(size=(5,), strides=(1,)).items():
            zipped.writestr(f"long/{name}", content)
    with pytest.raises(ValueError, match=r"a tensor of shape \(5,\) exceeds its storage of 4 numbers"):
        read_torch_weights(file)


def test_a_small_file_does_not_fill_the_memory(tmp_path):
    """By a tensor that repeats its numbers; a few times are allowed, since tensors may share them."""
    for size, message in (((4,), None), ((200, 200, 200), "its tensors have 32,000,000 bytes, but the file has 16")):
        file = tmp_path / "repeated.pth"
        with zipfile.ZipFile(file, "w") as zipped:
            for name, content in archive_of(size=size, strides=(0,) * len(size)).items():
                zipped.writestr(f"repeated/{name}", content)
        if message is None:
            np.testing.assert_array_equal(read_torch_weights(file)["weight"], np.zeros(4))
        else:
            with pytest.raises(ValueError, match=message):
                read_torch_weights(file)


def test_a_compressed_file_is_refused(tmp_path):
    file = tmp_path / "bomb.pth"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in archive_of(size=(2, 2), strides=(1, 2)).items():
            zipped.writestr(f"bomb/{name}", content)
    with pytest.raises(ValueError, match=r"bomb/data\.pkl is compressed"):
        read_torch_weights(file)


def archive_of(*, size, strides):
    """What is in a file of one float32 tensor over the numbers 0 to 3, its pickle written by hand."""

    def number(value):
        return b"K" + bytes([value])

    numbers = lambda values: b"(" + b"".join(map(number, values)) + b"t"
    text = lambda string: b"X" + len(string).to_bytes(4, "little") + string.encode()
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + number(4) + b"tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(0) + numbers(size) + numbers(strides)
    pickled = b"\x80\x02}" + text("weight") + tensor + b"\x89NtRs."
    return {"data.pkl": pickled, "data/0": np.arange(4, dtype="<f4").tobytes()}


def test_the_archive_written_by_hand_is_one(tmp_path):
    file = tmp_path / "short.pth"
    with zipfile.ZipFile(file, "w") as zipped:
        for name, content in archive_of(size=(2, 2), strides=(1, 2)).items():
            zipped.writestr(f"short/{name}", content)
    np.testing.assert_array_equal(read_torch_weights(file)["weight"], [[0.0, 2.0], [1.0, 3.0]])


def test_a_tensor_of_pytorch_before_0_4(tmp_path):
    """It was rebuilt by another function, from four arguments."""
    file = tmp_path / "early.pth"
    with zipfile.ZipFile(file, "w") as zipped:
        for name, content in archive_of(size=(2, 2), strides=(2, 1)).items():
            early = content.replace(b"_rebuild_tensor_v2", b"_rebuild_tensor").replace(b"\x89NtRs.", b"tRs.")
            zipped.writestr(f"early/{name}", early)
    np.testing.assert_array_equal(read_torch_weights(file)["weight"], [[0.0, 1.0], [2.0, 3.0]])


def test_what_is_no_state_dict(tmp_path):
    file = tmp_path / "list.pth"
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("list/data.pkl", pickle.dumps([1, 2], protocol=2))
    with pytest.raises(ValueError, match="it is not a flat dict of tensors"):
        read_torch_weights(file)
    with pytest.raises(ValueError, match=r"none.pth cannot be read as PyTorch weights: no such file"):
        read_torch_weights(tmp_path / "none.pth")
