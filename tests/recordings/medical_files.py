"""Files of hospital formats, written field by field from the formats' specifications, for tests of the readers.

Every writer takes a signal (lead, sample) in µV and gives the file's bytes; `who` are strings to plant where a file
says who it is of, where and when.
"""

import base64
import struct
import zlib
from binascii import crc_hqx

import numpy as np

LEADS12 = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
WHO = {"first": "Zarathustra", "last": "Quillfeather", "number": "MRN-90210-XK", "born": "1950-03-04",
       "on": "2011-06-07", "clock": "13:14:15", "staff": "Wolfsbane", "place": "Saint Obscura"}  # fmt: skip
MEASURED = {"pr": 162, "qrs": 94, "qt": 388, "hr": 64}
STATEMENTS = ("Sinus rhythm", "Left ventricular hypertrophy")


def steps(uv, lsb):
    return np.round(np.asarray(uv) / lsb).astype(int)


def base64_of(values):
    return base64.b64encode(np.asarray(values, "<i2").tobytes()).decode()


# ---------------------------------------------------------------- GE MUSE XML


def muse(uv, fs=500, lsb=4.88, leads=EIGHT, median=None, who=WHO, units="MICROVOLTS", age="61", statements=STATEMENTS,
         doctype='<!DOCTYPE RestingECG SYSTEM "restecg.dtd">', encoding="ISO-8859-1", **tags):  # fmt: skip
    """`tags` replace what stands in each LeadData, for example LeadOff="TRUE"."""
    year, month, day = who["born"].split("-")
    born = f"{month}-{day}-{year}"
    year, month, day = who["on"].split("-")
    waves = [("Rhythm", uv, fs)] + ([("Median", median, fs)] if median is not None else [])
    text = f"""<?xml version="1.0" encoding="{encoding}"?>
{doctype}
<RestingECG>
 <MuseInfo><MuseVersion>9.0</MuseVersion></MuseInfo>
 <PatientDemographics><PatientID>{who["number"]}</PatientID><PatientAge>{age}</PatientAge><AgeUnits>YEARS</AgeUnits>
  <DateofBirth>{born}</DateofBirth><Gender>FEMALE</Gender><PatientLastName>{who["last"]}</PatientLastName>
  <PatientFirstName>{who["first"]}</PatientFirstName></PatientDemographics>
 <TestDemographics><DataType>RESTING</DataType><Site>1</Site><SiteName>{who["place"]}</SiteName>
  <AcquisitionDevice>MAC55</AcquisitionDevice><AcquisitionTime>{who["clock"]}</AcquisitionTime>
  <AcquisitionDate>{month}-{day}-{year}</AcquisitionDate><OverreaderLastName>{who["staff"]}</OverreaderLastName>
  <LocationName>{who["place"]}</LocationName></TestDemographics>
 <RestingECGMeasurements><VentricularRate>{MEASURED["hr"]}</VentricularRate><PRInterval>{MEASURED["pr"]}</PRInterval>
  <QRSDuration>{MEASURED["qrs"]}</QRSDuration><QTInterval>{MEASURED["qt"]}</QTInterval></RestingECGMeasurements>
 <Diagnosis><Modality>RESTING</Modality>"""
    lines = [*statements, f"When compared with ECG of 12-JAN-2009, {who['last']}", f"Confirmed by {who['staff']} (17)"]
    for line in lines:  # the first word apart, as GE does: a line is what stands up to ENDSLINE
        first, _, rest = line.partition(" ")
        text += f"<DiagnosisStatement><StmtText>{first}</StmtText></DiagnosisStatement>"
        text += f"<DiagnosisStatement><StmtFlag>ENDSLINE</StmtFlag><StmtText>{rest}</StmtText></DiagnosisStatement>"
    text += "</Diagnosis>"
    for kind, signal, rate in waves:
        text += f"<Waveform><WaveformType>{kind}</WaveformType><NumberofLeads>{len(leads)}</NumberofLeads>"
        text += f"<SampleType>CONTINUOUS_SAMPLES</SampleType><SampleBase>{rate}</SampleBase>"
        text += "<SampleExponent>0</SampleExponent>"
        for lead, row in zip(leads, signal, strict=True):
            raw = steps(row, lsb).astype("<i2").tobytes()
            fields = {
                "LeadByteCountTotal": len(raw), "LeadSampleCountTotal": len(row), "LeadAmplitudeUnitsPerBit": lsb,
                "LeadAmplitudeUnits": units, "LeadID": lead, "LeadSampleSize": 2, "LeadOff": "FALSE",
                "LeadDataCRC32": zlib.crc32(raw),
                "WaveFormData": "\n".join(base64.encodebytes(raw).decode().split()),
            } | tags  # fmt: skip
            text += "<LeadData>" + "".join(f"<{k}>{v}</{k}>" for k, v in fields.items()) + "</LeadData>"
        text += "</Waveform>"
    return (text + "</RestingECG>").encode(encoding)


# ---------------------------------------------------------------- HL7 aECG


def aecg(uv, fs=500, lsb=2.5, unit="uV", origin=0, leads=LEADS12, median=None, who=WHO, starts=None):
    """`starts` (s), one a lead, writes each lead as a set of its own, as 3 x 4 printouts are."""
    born, on = (who[k].replace("-", "") for k in ("born", "on"))

    def group(signal, which, start):
        rows = f"""<component><sequence><code code="TIME_RELATIVE" codeSystem="2.16.840.1.113883.5.4"/>
<value xsi:type="GLIST_PQ"><head value="{start}" unit="s"/><increment value="{1 / fs!r}" unit="s"/></value>
</sequence></component>"""
        for lead, row in zip(which, signal, strict=True):
            scale = {"uV": 1.0, "mV": 1e3}[unit]
            digits = " ".join(map(str, steps(np.asarray(row) - origin * scale, lsb)))
            rows += f"""<component><sequence><code code="MDC_ECG_LEAD_{lead.upper()}"/>
<value xsi:type="SLIST_PQ"><origin value="{origin}" unit="{unit}"/><scale value="{lsb / scale!r}" unit="{unit}"/>
<digits>{digits}</digits></value></sequence></component>"""
        return f"<component><sequenceSet>{rows}</sequenceSet></component>"

    def numbers():
        codes = {"PR": "pr", "QRS": "qrs", "QT": "qt"}
        values = [(f"MDC_ECG_TIME_PD_{k}", MEASURED[v], "ms") for k, v in codes.items()]
        values += [("MDC_ECG_HEART_RATE", MEASURED["hr"], "bpm")]
        rows = [f'<component><annotation><code code="{c}"/><value xsi:type="PQ" value="{v}" unit="{u}"/></annotation>'
                "</component>" for c, v, u in values]  # fmt: skip
        rows += ['<component><annotation><code code="MDC_ECG_INTERPRETATION_STATEMENT"/><value xsi:type="ST">'
                 f"{s}</value></annotation></component>" for s in (*STATEMENTS, f"By Dr {who['staff']}")]  # fmt: skip
        return f"<subjectOf><annotationSet>{''.join(rows)}</annotationSet></subjectOf>"

    sets = (
        [(uv, leads, 0)]
        if starts is None
        else [([row], [lead], t) for row, lead, t in zip(uv, leads, starts, strict=True)]
    )
    beat = "" if median is None else (
        '<derivation><derivedSeries><code code="REPRESENTATIVE_BEAT"/>' + group(median, leads, 0)
        + "</derivedSeries></derivation>")  # fmt: skip
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<AnnotatedECG xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<id root="61d1a24f-b47e-41aa-ae95-f8ac302f4eeb"/>
<effectiveTime><low value="{on}131415" inclusive="true"/></effectiveTime>
<componentOf><timepointEvent><componentOf><subjectAssignment><subject><trialSubject>
<id root="2.16" extension="{who["number"]}"/><subjectDemographicPerson><name>{who["first"]} {who["last"]}</name>
<administrativeGenderCode code="F"/><birthTime value="{born}"/></subjectDemographicPerson></trialSubject></subject>
<componentOf><clinicalTrial><location><trialSite><location><name>{who["place"]}</name></location></trialSite></location>
</clinicalTrial></componentOf></subjectAssignment></componentOf></timepointEvent></componentOf>
<component><series><code code="RHYTHM"/><effectiveTime><low value="{on}131415"/></effectiveTime>
<author><seriesAuthor><manufacturedSeriesDevice><manufacturerModelName>ELI 250</manufacturerModelName>
</manufacturedSeriesDevice><manufacturerOrganization><name>Mortara</name></manufacturerOrganization></seriesAuthor></author>
<secondaryPerformer><seriesPerformer><assignedPerson><name>{who["staff"]}</name></assignedPerson></seriesPerformer>
</secondaryPerformer>{"".join(group(*s) for s in sets)}{numbers()}{beat}</series></component></AnnotatedECG>""".encode()


# ---------------------------------------------------------------- Philips Sierra XML


def lzw(data):
    """LZW of Philips's XLI: codes of 10 bits, the first bit first, a table of at most 1023 strings."""
    table, out, last = {bytes([k]): k for k in range(256)}, [], b""
    for byte in data:
        longer = last + bytes([byte])
        if longer in table:
            last = longer
            continue
        out.append(table[last])
        if len(table) <= 1022:
            table[longer] = len(table)
        last = bytes([byte])
    out.append(table[last])
    bits = "".join(f"{code:010b}" for code in out)
    return bytes(int(bits[k : k + 8].ljust(8, "0"), 2) for k in range(0, len(bits), 8))


def xli(row):
    """A lead in XLI: size, first bend, and LZW of the first two samples and the other bends, high bytes first."""
    x = np.asarray(row, int)
    bends = 2 * x[1:-1] - x[:-2] - x[2:]
    words = np.concatenate([x[:2], bends[1:] + 64, [64]]).astype(np.int64) & 0xFFFF
    packed = lzw(bytes((words >> 8).astype(np.uint8)) + bytes((words & 255).astype(np.uint8)))
    return struct.pack("<iHh", len(packed), 0, bends[0]) + packed


def sierra(uv, fs=500, lsb=5.0, compressed=False, median=None, who=WHO, encoding="UTF-8", version="1.04"):
    x = steps(uv, lsb)
    if compressed:
        one, two, three, avr, avl, avf = x[:6]
        rest = [two - one - three, -avr - (one + two) // 2, (one - three) // 2 - avl, (two + three) // 2 - avf]
        data = base64.b64encode(b"".join(map(xli, [one, two, *rest, *x[6:]]))).decode()
    else:
        data = base64_of(x)
    how = 'compressflag="True" compressmethod="XLI"' if compressed else 'compressflag="False"'
    beats = "" if median is None else (
        f'<repbeats dataencoding="Base64" samplespersec="{fs}" resolution="{lsb}">' + "".join(
            f'<repbeat leadname="{lead}"><waveform duration="{len(row) * 1000 // fs}">{base64_of(steps(row, lsb))}'
            "</waveform></repbeat>" for lead, row in zip(LEADS12, median, strict=True)) + "</repbeats>")  # fmt: skip
    statements = "".join(f"<statement><leftstatement>{s}</leftstatement></statement>" for s in STATEMENTS)
    text = f"""<?xml version="1.0" encoding="{encoding}"?>
<restingecgdata xmlns="http://www3.medical.philips.com">
<documentinfo><documentname>{who["last"]}.xml</documentname><documenttype>PhilipsECG</documenttype>
<documentversion>{version}</documentversion></documentinfo>
<patient><generalpatientdata><patientid>{who["number"]}</patientid><name><lastname>{who["last"]}</lastname>
<firstname>{who["first"]}</firstname></name><age><dateofbirth>{who["born"]}</dateofbirth></age><sex>Female</sex>
</generalpatientdata></patient>
<dataacquisition date="{who["on"]}" time="{who["clock"]}"><machine machineid="{who["place"]}">PageWriter TC</machine>
<acquirer><operatorid>{who["staff"]}</operatorid><institutionname>{who["place"]}</institutionname></acquirer>
<signalcharacteristics><samplingrate>{fs}</samplingrate><resolution>{lsb:g}</resolution><signaloffset>0</signaloffset>
<signalsigned>True</signalsigned><numberchannelsvalid>12</numberchannelsvalid>
<numberchannelsallocated>12</numberchannelsallocated><acquisitiontype>STD-12</acquisitiontype></signalcharacteristics>
</dataacquisition>
<waveforms><parsedwaveforms dataencoding="Base64" {how} durationperchannel="{x.shape[1] * 1000 // fs}"
 numberofleads="12" leadlabels="{" ".join(LEADS12)}">{data}</parsedwaveforms>{beats}</waveforms>
<interpretations><interpretation><globalmeasurements><heartrate>{MEASURED["hr"]}</heartrate>
<print>{MEASURED["pr"]}</print><qrsdur>{MEASURED["qrs"]}</qrsdur><qtint>{MEASURED["qt"]}</qtint></globalmeasurements>
{statements}<mdsignatureline>{who["staff"]}</mdsignatureline></interpretation></interpretations>
</restingecgdata>"""
    return text.encode(encoding)


# ---------------------------------------------------------------- SCP-ECG


SCP_CODES = dict(zip(LEADS12, (1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8), strict=True))


def huffman(values):
    """Values in the standard's default table."""
    bits = []
    for v in map(int, values):
        if v == 0:
            bits.append("0")
        elif abs(v) <= 8:
            bits.append("1" * abs(v) + "0" + ("1" if v < 0 else "0"))
        elif -128 <= v < 128:
            bits.append("1" * 9 + "0" + f"{v & 255:08b}")
        else:
            bits.append("1" * 10 + f"{v & 0xFFFF:016b}")
    text = "".join(bits)
    return bytes(int(text[k : k + 8].ljust(8, "0"), 2) for k in range(0, len(text), 8))


def default_tables():
    """The default table written out, as files do that have tables of their own."""
    codes = [("0", 1, 0)] + [("1" * k + f"0{s}", k + 2, -k if s else k) for k in range(1, 9) for s in (0, 1)]
    codes += [("1" * 9 + "0", 18, 0), ("1" * 10, 26, 0)]
    out = struct.pack("<HH", 1, len(codes))
    for bits, total, value in codes:
        out += struct.pack("<BBBhI", len(bits), total, 1, value, int(bits[::-1], 2))
    return out


def differences(row, order):
    x = np.asarray(row, int)
    return np.concatenate([x[:order], np.diff(x, order)]) if order else x


def scp_section(number, body):
    body += b"\0" * (len(body) % 2)
    rest = struct.pack("<HIBB6x", number, 16 + len(body), 20, 20) + body
    return struct.pack("<H", crc_hqx(rest, 0xFFFF)) + rest


def scp_samples(rows, lsb, fs, order, packed):
    data = [huffman(differences(r, order)) if packed else differences(r, order).astype("<i2").tobytes() for r in rows]
    head = struct.pack("<HHBB", round(lsb * 1000), round(1e6 / fs), order, 0)
    return head + b"".join(struct.pack("<H", len(d)) for d in data) + b"".join(data)


def scp(uv, fs=500, lsb=5.0, order=0, packed=False, beat=None, peaks=(), who=WHO, leads=LEADS12, age=(61, 1),
        own_tables=False):  # fmt: skip
    """`beat` (lead, sample) with its fiducial in the middle is subtracted at `peaks` (sample numbers from 0 on)."""
    x = steps(uv, lsb)

    def tag(number, value):
        value = value if isinstance(value, bytes) else value.encode() + b"\0"
        return struct.pack("<BH", number, len(value)) + value

    def day(text):
        year, month, date = map(int, text.split("-"))
        return struct.pack("<HBB", year, month, date)

    machine = struct.pack("<HHHBB6sBBBBB", 1, 1, 1, 0, 17, b"AT-102", 20, 0xA0, 0, 0, 1) + b"\0" * 17
    fields = [tag(0, who["last"]), tag(1, who["first"]), tag(2, who["number"]), tag(4, struct.pack("<HB", *age)),
              tag(5, day(who["born"])), tag(8, b"\2"), tag(14, machine), tag(16, who["place"]), tag(20, who["staff"]),
              tag(25, day(who["on"])), tag(26, b"\x0d\x0e\x0f"), b"\xff\0\0"]  # fmt: skip
    subtract, n = beat is not None and len(peaks) > 0, x.shape[1]
    sections = {1: b"".join(fields)}
    if packed:
        sections[2] = default_tables() if own_tables else struct.pack("<H", 19999)
    sections[3] = bytes([len(leads), 4 | len(leads) << 3 & 0xF8 | subtract])
    sections[3] += b"".join(struct.pack("<IIB", 1, n, SCP_CODES[lead]) for lead in leads)
    if beat is not None:
        own = steps(beat, lsb)
        length, middle = own.shape[1], own.shape[1] // 2
        sections[4] = struct.pack("<HHH", length * 1000 // fs, middle + 1, len(peaks))
        for p in peaks:  # sample numbers from 1 on; the fiducial is sample `middle` of the beat, from 0 on
            sections[4] += struct.pack("<HIII", 0, p + 1 - middle, p + 1, p + length - middle)
            if subtract:
                x[:, p - middle : p - middle + length] -= own
        sections[4] += b"".join(struct.pack("<II", 1, 1) for _ in peaks)
        sections[5] = scp_samples(own, lsb, fs, order, packed)
    sections[6] = scp_samples(x, lsb, fs, order, packed)
    onsets = (
        100,
        200,
        100 + MEASURED["pr"],
        100 + MEASURED["pr"] + MEASURED["qrs"],
        100 + MEASURED["pr"] + MEASURED["qt"],
    )
    sections[7] = struct.pack("<BBHH5H3h", 1, 0, round(60000 / MEASURED["hr"]), 0, *onsets, 30, 40, 50)
    lines = [*STATEMENTS, f"Confirmed by {who['staff']}"]
    sections[8] = b"\1" + day(who["on"]) + b"\x0d\x0e\x0f" + bytes([len(lines)])
    sections[8] += b"".join(struct.pack("<BH", k + 1, len(s) + 1) + s.encode() + b"\0" for k, s in enumerate(lines))
    made = {number: scp_section(number, body) for number, body in sections.items()}
    size0, at, pointers = 16 + 10 * 12, 6 + 16 + 10 * 12, b""
    for number in range(12):
        if number == 0:
            pointers += struct.pack("<HII", 0, size0, 7)
        else:
            length = len(made.get(number, b""))
            pointers += struct.pack("<HII", number, length, at + 1 if length else 0)
            at += length
    rest = struct.pack("<HI2B6s", 0, size0, 20, 20, b"SCPECG") + pointers
    body = struct.pack("<H", crc_hqx(rest, 0xFFFF)) + rest + b"".join(made.values())
    body = struct.pack("<I", len(body) + 6) + body
    return struct.pack("<H", crc_hqx(body, 0xFFFF)) + body


# ---------------------------------------------------------------- EDF and BDF


def edf(signals, seconds=1.0, bits=16, kind="", person="X X X X", recording="Startdate X X X X", times=None):
    """`signals` are (label, unit, physical range, integers, samples a record); `times` (s) make it EDF+D."""
    first, width = (b"0       ", 2) if bits == 16 else (b"\xffBIOSEMI", 3)
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    signals = [(label, unit, span, np.asarray(x), per) for label, unit, span, x, per in signals]
    records = len(signals[0][3]) // signals[0][4]
    notes = []
    if kind:
        times = np.arange(records) * seconds if times is None else times
        notes = [f"+{t:g}\x14\x14\0".encode().ljust(40, b"\0") for t in times]

    def text(value, size):
        return str(value).encode("latin-1")[:size].ljust(size)

    rows = [
        (label, "", unit, span[0], span[1], low, high, "HP:0.05Hz", per, "") for label, unit, span, _, per in signals
    ]
    if notes:
        rows.append((f"{'EDF' if bits == 16 else 'BDF'} Annotations", "", "", -1, 1, low, high, "", 40 // width, ""))
    head = first + text(person, 80) + text(recording, 80) + text("07.06.11", 8) + text("13.14.15", 8)
    head += text(256 * (len(rows) + 1), 8) + text(kind, 44) + text(records, 8) + text(f"{seconds:g}", 8)
    head += text(len(rows), 4)
    for size, column in zip((16, 80, 8, 8, 8, 8, 8, 80, 8, 32), zip(*rows, strict=True), strict=True):
        head += b"".join(text(value, size) for value in column)
    body = b""
    for k in range(records):
        for _, _, _, x, per in signals:
            part = x[k * per : (k + 1) * per].astype("<i4").view(np.uint8).reshape(-1, 4)[:, :width]
            body += part.tobytes()
        body += notes[k][: 40 // width * width] if notes else b""
    return head + body


# ---------------------------------------------------------------- DICOM


def dicom(groups, who=WHO, kind="1.2.840.10008.5.1.4.1.1.9.1.1", scheme="SCPECG", age="061Y", big_endian=False):
    """`groups` are (label, originality, signal, fs, {lsb, unit, factor, baseline, start}), with leads as they come."""
    from io import BytesIO

    from pydicom import dcmwrite
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.sequence import Sequence
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, generate_uid

    def code(value, meaning, scheme):
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
        return Sequence([item])

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRBigEndian if big_endian else ExplicitVRLittleEndian
    data = FileDataset("x.dcm", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID, data.Modality = kind, meta.MediaStorageSOPInstanceUID, "ECG"
    data.PatientName, data.PatientID = f"{who['last']}^{who['first']}", who["number"]
    data.PatientBirthDate, data.PatientSex, data.PatientAge = who["born"].replace("-", ""), "F", age
    data.StudyDate = data.AcquisitionDateTime = who["on"].replace("-", "")
    data.Manufacturer, data.ManufacturerModelName = "Mortara", "ELI 250"
    data.InstitutionName, data.OperatorsName, data.ReferringPhysicianName = who["place"], who["staff"], who["staff"]
    waves = []
    for label, originality, signal, fs, more in groups:
        lsb, unit, factor = more.get("lsb", 2.5), more.get("unit", "uV"), more.get("factor", 1.0)
        baseline = more.get("baseline", 0.0)
        per_unit = {"uV": 1.0, "mV": 1e3}[unit]
        group = Dataset()
        group.MultiplexGroupLabel, group.WaveformOriginality, group.SamplingFrequency = label, originality, fs
        if "start" in more:
            group.MultiplexGroupTimeOffset = more["start"]
        group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = np.shape(signal)
        group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
        channels = []
        for lead in more.get("leads", LEADS12):
            channel = Dataset()
            number = SCP_CODES[lead]
            value = {"SCPECG": f"5.6.3-9-{number}", "MDC": f"2:{number}"}.get(scheme, f"L{number}")
            channel.ChannelSourceSequence = code(
                value, f"Lead {lead} (Einthoven)" if lead == "I" else f"Lead {lead}", scheme
            )
            channel.ChannelSensitivity, channel.ChannelSensitivityCorrectionFactor = lsb / factor / per_unit, factor
            channel.ChannelBaseline, channel.WaveformBitsStored = baseline, 16
            channel.ChannelSensitivityUnitsSequence = code(unit, unit, "UCUM")
            channels.append(channel)
        group.ChannelDefinitionSequence = Sequence(channels)
        raw = steps(np.asarray(signal) - baseline * per_unit, lsb).T
        group.WaveformData = np.ascontiguousarray(raw).astype(">i2" if big_endian else "<i2").tobytes()
        waves.append(group)
    data.WaveformSequence = Sequence(waves)
    notes = []
    names = {"pr": "PR Interval", "qrs": "QRS Duration", "qt": "QT Interval", "hr": "Ventricular Heart Rate"}
    for key, name in names.items():
        note = Dataset()
        note.ConceptNameCodeSequence, note.NumericValue = code(key, name, "SCPECG"), MEASURED[key]
        note.MeasurementUnitsCodeSequence = code("bpm" if key == "hr" else "ms", "", "UCUM")
        notes.append(note)
    for words in (*STATEMENTS, f"Confirmed by {who['staff']}"):
        note = Dataset()
        note.UnformattedTextValue = words
        notes.append(note)
    data.WaveformAnnotationSequence = Sequence(notes)
    out = BytesIO()
    how = {"force_encoding": True} if big_endian else {"enforce_file_format": True}
    dcmwrite(out, data, implicit_vr=False, little_endian=not big_endian, **how)
    return out.getvalue()
